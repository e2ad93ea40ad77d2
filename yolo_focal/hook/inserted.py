"""What the code around the parser's dispatch calls: `syntax` puts it there."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from yolo_focal.hook import configs, layer_seed
from yolo_focal.hook.modules import plugins, registry
from yolo_focal.hook.modules.channels import Scaling
from yolo_focal.hook.rows import stock
from yolo_focal.hook.rows.arguments import of_scale
from yolo_focal.hook.rows.names import Names
from yolo_focal.hook.rows.reading import LikeRow, Place, RuleRow, StockRow, check

_CLASSIFIERS = {"classify", "classifier", "cls", "fc"}  # Ultralytics' names of a classifier; any logits have its loss


def names() -> Names:
    """Return Ultralytics' names and the registered ones; replaces `globals` in the parser, whose variables it reads."""
    parser = sys._getframe(1)
    return Names(parser.f_globals, _file(parser.f_locals["d"]), parser.f_locals.get("i"))


def check_rows(config: dict[str, Any]) -> None:
    """Import the user's files, and check the form of the rows that name a registered module."""
    plugins.load(beside=config.get("yaml_file") or "")
    for index, row in enumerate(config["backbone"] + config["head"]):
        if isinstance(row, list) and len(row) > 2 and isinstance(row[2], str) and registry.find(row[2]):
            check(_file(config), index, row)


def read(
    config: dict[str, Any], index: int, module: Any, args: list[Any], channels: Sequence[int], repeats: int
) -> StockRow | RuleRow | LikeRow:
    """Return how a row is read, before the dispatch.

    Args:
        config: The model YAML, parsed.
        index: The row's index.
        module: The class that the row's name has given.
        args: The row's arguments as the parser evaluated them.
        channels: Output channels of each layer before the row.
        repeats: The row's repeats at the model's scale.

    Raises:
        ConfigError: The row is invalid.
    """
    layer_seed.apply(index)  # the parser reads each row, and then builds its layer
    row: list[Any] = (config["backbone"] + config["head"])[index]
    name, file = row[2], _file(config)
    entry = registry.find(name, configs.is_packaged(file))
    if entry is None or module is not stock.shown_to_parser(name, entry):
        return StockRow(args)  # also where a fork has another class of that name
    scales = [*(config.get("scales") or {})]
    scaling = _scaling(config, repeats)
    is_last = index == len(config["backbone"]) + len(config["head"]) - 1 and bool(config["head"])
    is_output = is_last and name.lower() not in _CLASSIFIERS
    place = Place(f"{file}, row {index} ({name})", row, is_output)
    args = of_scale(args, scaling.scale, scales, place.where)
    read_as = stock.read_as(name, entry)
    if read_as is None:
        return RuleRow(entry, place, args, channels, scaling)
    return LikeRow(entry, place, args, channels, read_as)


def _file(config: dict[str, Any]) -> str:
    return config.get("yaml_file") or "the model's configuration"


def _scaling(config: dict[str, Any], repeats: int) -> Scaling:
    """Return a config's scaling as `parse_model` computes it; without a `scale` the first of `scales` applies."""
    scales, nc = config.get("scales"), config.get("nc")
    unscaled = nc if stock.leaves_nc() else None
    if not scales:
        depth, width = (config.get(f"{name}_multiple", 1.0) for name in ("depth", "width"))
        return Scaling(width, float("inf"), nc, depth=depth, repeats=repeats, unscaled=unscaled)
    scale = config.get("scale") or next(iter(scales))
    depth, width, max_channels, *rest = scales[scale]
    return Scaling(width, max_channels, nc, scale, depth, repeats, tuple(rest), unscaled)
