"""The packaged configs with FocalNet: its rows as the backbone, with the heads of Ultralytics' own configs.

`regenerate_cfg.py` writes them.
"""

from __future__ import annotations

import itertools
from typing import Any

import yaml

from yolo_focal.hook import configs
from yolo_focal.twin import config

ORIGINALS = [*(f"yolov8{suffix}" for suffix in ("", "-seg", "-pose", "-obb", "-cls")), "yolo11", "yolo26"]

# A FocalNet's values by scale; `else` stands for the letters that are not named (see `rows.of_scale`).
_CHANNELS = {"n": 32, "s": 96, "m": 96, "l": 128, "x": 192}
_DEPTHS: list[Any] = [2, 2, {"n": 6, "s": 6, "else": 18}, 2]
_LEVELS = {"n": 2, "x": 4, "else": 3}
_LARGE = {"use_postln": {"x": True, "else": False}, "layerscale_value": {"x": 1e-4, "else": None}}
# First windows of the stages: as trained on ImageNet, and as the paper's authors have them for detection.
_CLASSIFICATION_WINDOWS: list[Any] = [3, 3, 3, 3]
_DETECTION_WINDOWS: list[Any] = [{"n": 9, "x": 3, "else": window} for window in (11, 9, 9, 7)]
# The last block's probability to drop a branch; it grows linearly from 0 at the first block.
_CLASSIFICATION_DROP = {"n": 0.1, "s": 0.2, "m": 0.3, "l": 0.5, "x": 0.3}
_DETECTION_DROP = {"n": 0.1, "s": 0.3, "m": 0.3, "l": 0.3, "x": 0.3}

_SCALES = """\
# n: 32 channels, a small one of this project's own, without published weights; s, m and l: FocalNet-T (tiny),
# FocalNet-S (small) and FocalNet-B (base) with large receptive fields (lrf); x: FocalNet-L (large) with 4 levels
# In a row, a mapping with scale letters gives each scale its own value."""


def name_of(original: str) -> str:
    """Return the name of a config with FocalNet: `yolov8-focalnet-seg.yaml` of `yolov8-seg`."""
    return config.name_of_twin(f"{original}.yaml").replace("-focal", "-focalnet")


def text_of(original: str) -> str:
    """Return the text of a config with FocalNet.

    Args:
        original: The stock model's name, such as `yolov8-seg`.
    """
    stock = yaml.safe_load(config.read(configs.model(f"{original}.yaml")))
    classifies = original.endswith("-cls")
    backbone = _backbone(classifies)
    head = [[-1, 1, "Classifier", ["nc"]]] if classifies else _moved_head(stock, len(backbone))
    top = {key: value for key, value in stock.items() if key not in {"backbone", "head", "scales"}}
    name = name_of(original).replace("-", "s-", 1)
    index = itertools.count()
    lines = [
        "# FocalNet (arXiv 2203.11926), a classifier" if classifies else f"# {original} with FocalNet as its backbone",
        _SCALES,
        *([] if classifies else [f"# The head is that of {original}, scaled as there."]),
        f"# yolo-focal derive model={name} weights=focalnet_tiny_lrf.ms_in1k save=in1k.pt",
        f"# yolo train model=in1k.pt cfg=focalnet.yaml data=...{' imgsz=224' if classifies else ''}",
        "",
        *(f"{key}: {_flow(value)}" for key, value in top.items()),
        "scales:",
        *(f"  {letter}: {_flow(stock['scales'][letter])}" for letter in "nsmlx"),
    ]
    for part, rows in (("backbone", backbone), ("head", head)):
        lines += [f"{part}:", *(f"  - {_flow(row)} # {next(index)}" for row in rows)]
    return "\n".join(lines) + "\n"


def _backbone(classifies: bool) -> list[Any]:
    """Return FocalNet's rows: an embedding and a stage, four times; for detection also the norms of three outputs."""
    drop = _CLASSIFICATION_DROP if classifies else _DETECTION_DROP
    windows = _CLASSIFICATION_WINDOWS if classifies else _DETECTION_WINDOWS
    rows: list[Any] = []
    for stage in range(4):
        channels = {letter: c * 2**stage for letter, c in _CHANNELS.items()}
        overlapping: dict[str, Any] = {"use_conv_embed": {"x": True, "else": False}}
        if not stage and not classifies:
            overlapping["padding"] = {"x": 3, "else": 0}
        rows.append([-1, 1, "FocalEmbed", [channels, 2 if stage else 4, overlapping]])
        rates = {letter: _drop_rates(letter, stage, rate) for letter, rate in drop.items()}
        keywords = {"focal_level": _LEVELS, "focal_window": windows[stage], "drop_path": rates, **_LARGE}
        rows.append([-1, 1, "FocalStage", [_DEPTHS[stage], keywords]])
    return rows if classifies else [*rows, *([source, 1, "FocalNorm", []] for source in (3, 5, 7))]


def _drop_rates(letter: str, stage: int, rate: float) -> list[float]:
    """Return the probabilities of a stage's first and last block."""
    depths = [depth if isinstance(depth, int) else depth.get(letter, depth["else"]) for depth in _DEPTHS]
    first = sum(depths[:stage])
    return [round(rate * block / (sum(depths) - 1), 3) for block in (first, first + depths[stage] - 1)]


def _moved_head(stock: dict[str, Any], length: int) -> list[Any]:
    """Return a stock config's head for a backbone of another length, whose last three rows are its outputs."""
    old_length = len(stock["backbone"])
    outputs = {4: length - 3, 6: length - 2, old_length - 1: length - 1}

    def moved(source: Any) -> Any:
        if isinstance(source, list):
            return [moved(index) for index in source]
        return source if source < 0 else outputs[source] if source < old_length else source + length - old_length

    return [[moved(source), *rest] for source, *rest in stock["head"]]


def _flow(value: Any) -> str:
    """Return a value as YAML on one line, in which mappings keep their order."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_flow, value)) + "]"
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "null"
    return "1.0e-4" if value == 1e-4 else f'"{value}"' if value == "nearest" else str(value)
