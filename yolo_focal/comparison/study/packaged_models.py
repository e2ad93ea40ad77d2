"""`models=collection`: the packaged models that differ from a stock one in a module alone."""

from __future__ import annotations

import re
from collections.abc import Sequence

from yolo_focal.errors import ConfigError
from yolo_focal.hook import configs

NAME = "collection"
_STOCK = "yolov8n.yaml"
_OTHER_BACKBONES = {"focalnet", "timm"}  # they cost a multiple of the stock model: compared when they are named


def expand(names: str | Sequence[str]) -> list[str]:
    """Replace the word `collection` by the packaged models of the first model's family, scale and task.

    Args:
        names: What the user wrote, such as `["yolo11s-seg.yaml", "collection"]` or `"yolo11s-seg.yaml,collection"`.
            The word alone stands for the collection behind `yolov8n.yaml`.

    Returns:
        The models' names, each once.

    Raises:
        ConfigError: The first model is none that the collection has been made from.
    """
    names = [str(name).strip() for name in (names.split(",") if isinstance(names, str) else names)]
    if NAME not in names:
        return names
    if names[0] == NAME:
        names.insert(0, _STOCK)
    place = names.index(NAME)
    packaged = [name for name in _packaged(names[0]) if name not in names]
    return [*names[:place], *packaged, *(name for name in names[place + 1 :] if name != NAME)]


def _packaged(stock: str) -> list[str]:
    """Return the packaged models of a stock model's family, scale and task: `yolov8n-ema.yaml` of `yolov8n.yaml`."""
    parts = re.fullmatch(r"(yolo\D*\d+)([nsmlx])(-[a-z]+)?\.yaml", stock)
    if parts:
        family, scale, task = parts.groups(default="")
        pattern = re.compile(rf"{family}-([a-z0-9]+){task}\.yaml")
        matches = [pattern.fullmatch(file.name) for file in sorted(configs.folder().glob("*.yaml"))]
        modules = [match[1] for match in matches if match and match[1] not in _OTHER_BACKBONES]
        if modules:
            return [f"{family}{scale}-{module}{task}.yaml" for module in modules]
    raise ConfigError(
        f"models={stock},{NAME}: the first model is not a stock one that the collection has been made from; write "
        f"one, such as models={_STOCK},{NAME} or models=yolo11s-seg.yaml,{NAME}"
    )
