"""What the code around the parser's dispatch calls: `syntax` puts it there."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from yolo_focal.errors import ConfigError
from yolo_focal.hook import configs, forks, layer_seed
from yolo_focal.hook.modules import plugins, registry
from yolo_focal.hook.modules.channels import MapChannels, Scaling
from yolo_focal.hook.rows import fork, stock
from yolo_focal.hook.rows.arguments import of_scale
from yolo_focal.hook.rows.names import Names
from yolo_focal.hook.rows.reading import LikeRow, Place, RuleRow, StockRow, check

_CLASSIFIERS = {"classify", "classifier", "cls", "fc"}  # Ultralytics' names of a classifier; any logits have its loss


def names() -> Names:
    """Return Ultralytics' names and the registered ones; replaces `globals` in the parser, whose variables it reads."""
    parser = sys._getframe(1)
    return Names(parser.f_globals, parser.f_locals["d"], parser.f_locals.get("i"))


def check_rows(config: dict[str, Any]) -> None:
    """Import the user's files, and check the form of the rows that name a registered module or one of a fork.

    A fork's backbone gets the rows of its maps.
    """
    plugins.load(beside=config.get("yaml_file") or "")
    layer_seed.apply(0)
    parser = sys._getframe(1)
    fork.name_by_value(config, parser.f_globals)
    fork.expand_backbone(config, _place(config, 0), parser.f_globals, parser.f_locals)
    for index, row in enumerate(config["backbone"] + config["head"]):
        if not (isinstance(row, list) and len(row) > 2 and isinstance(row[2], str)):
            continue
        if registry.find(row[2]) or fork.is_of_fork(row[2], config, parser.f_globals):
            check(_file(config), index, row)


def read(
    config: dict[str, Any], index: int, module: Any, args: list[Any], channels: Sequence[int], repeats: int
) -> StockRow | RuleRow | LikeRow | fork.ForkRow:
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
    name, file, place = row[2], _file(config), _place(config, index)
    _check_one_map(index, row, channels, place.where)
    parser = sys._getframe(1)
    of_fork = fork.module_of(name, config, parser.f_globals, place.where)
    if of_fork is not None:
        return fork.read(config, index, of_fork, channels, place, parser.f_globals, parser.f_locals)
    entry = registry.find(name, configs.is_packaged(file))
    if entry is None or module is not stock.shown_to_parser(name, entry):
        return StockRow(args)  # also where a fork has another class of that name
    scales = [*(config.get("scales") or {})]
    scaling = _scaling(config, repeats)
    args = of_scale(args, scaling.scale, scales, place.where)
    read_as = stock.read_as(name, entry)
    if read_as is None:
        return RuleRow(entry, place, args, channels, scaling)
    return LikeRow(entry, place, args, channels, read_as)


def legacy_behind(config: dict[str, Any], row: object, legacy: Any) -> Any:
    """Return the parser's `legacy` behind a row, which a fork's parser may have changed."""
    named = forks.current() if forks.FROM_FORK in config else None
    if named is not None and named.legacy is not None:
        return named.legacy
    return row.legacy if isinstance(row, fork.ForkRow) else legacy


def _place(config: dict[str, Any], index: int) -> Place:
    rows = config["backbone"] + config["head"]
    row = rows[index]
    is_output = index == len(rows) - 1 and bool(config["head"]) and row[2].lower() not in _CLASSIFIERS
    return Place(f"{_file(config)}, row {index} ({row[2]})", row, is_output)


def _file(config: dict[str, Any]) -> str:
    return config.get("yaml_file") or "the model's configuration"


def _check_one_map(index: int, row: list[Any], channels: Sequence[int], where: str) -> None:
    """Check that a row whose module takes a map does not read all those of a backbone.

    Raises:
        ConfigError: It reads a row of Timm's, and is neither TimmMap, Ultralytics' Index nor a user's module.
    """
    takes_several = row[2] in {"TimmMap", "Index"} or (registry.find(row[2]) and not registry.is_built_in(row[2]))
    sources = row[0] if isinstance(row[0], list) else [row[0]]
    for read, made in enumerate(channels):
        if isinstance(made, MapChannels) and not takes_several and (read in sources or read - index in sources):
            raise ConfigError(
                f"{where}: it reads row {read} (Timm), which returns several maps; put a row that takes one of them "
                f"between, such as [{read}, 1, TimmMap, [32]]"
            )


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
