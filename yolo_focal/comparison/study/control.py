"""The control of a comparison: its first model at the width that costs what the dearest of the others costs.

A module that helps and one that merely makes the model larger look alike beside a smaller model. Beside this one they
do not.
"""

from __future__ import annotations

import copy
import functools
from bisect import bisect_left
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml
from ultralytics import YOLO
from ultralytics.utils import LOGGER
from ultralytics.utils.torch_utils import get_flops

from yolo_focal.comparison.store.files import write
from yolo_focal.comparison.study import models as found_models
from yolo_focal.comparison.study.dataset import Dataset
from yolo_focal.comparison.study.models import Model
from yolo_focal.errors import ConfigError
from yolo_focal.hook import configs

_STEPS = 1000  # of the width multiple; the channels of a layer, multiples of 8, are farther apart
_WIDEST = 4  # times as wide as the first model


class Cost(NamedTuple):
    """What a model costs that is trained on the data.

    Attributes:
        parameters: Number of parameters.
        gflops: Of one image of the training's size.
    """

    parameters: int
    gflops: float

    def reaches(self, other: Cost) -> bool:
        """Return whether it is no less than another in both."""
        return self.parameters >= other.parameters and self.gflops >= other.gflops


def check(first: Model) -> None:
    """Check that the first model of a comparison can be made wider.

    Raises:
        ConfigError: It is a checkpoint, or a YAML without scales.
    """
    if Path(first.file).suffix == ".pt":
        reason = "is a checkpoint, whose width is what it is"
    elif not _config(first).get("scales"):
        reason = "has no scales to set a width by"
    else:
        return
    raise ConfigError(
        f"control=True: it is the first model at another width, and {first.name} {reason}; write a YAML with scales "
        "first, such as models=yolov8n.yaml,..., or leave control= out"
    )


def write_control(folder: Path, models: Sequence[Model], dataset: Dataset, arguments: dict[str, Any]) -> list[Model]:
    """Write the control's YAML, the same for the same models and data.

    Args:
        folder: The comparison's.
        models: Its models.
        dataset: Its data.
        arguments: Every argument of `yolo train` that a run is given.

    Returns:
        The control; [] if none of the other models costs more than the first.

    Raises:
        ConfigError: The first model cannot be built at a width that costs as much.
    """
    first, *others = models
    data = {**dataset.other_keys, "nc": 1 if arguments["single_cls"] else len(dataset.names)}
    imgsz = int(np.max(arguments["imgsz"]))
    networks = [YOLO(model.file).model for model in models]
    costs = [_cost(network, {**network.yaml, **data}, imgsz) for network in networks]
    dearest = Cost(max(cost.parameters for cost in costs[1:]), max(cost.gflops for cost in costs[1:]))
    if costs[0].reaches(dearest):
        LOGGER.info(f"control=True: no other model has more parameters or GFLOPs than {first.label}; there is none")
        return []
    config = _config(first)
    scale = networks[0].yaml.get("scale") or next(iter(config["scales"]))
    depth, width, *rest = config["scales"][scale]

    def at(step: int) -> dict[str, Any]:
        return {**config, "scales": {scale: [depth, step / _STEPS, *rest]}}

    def cost_at(step: int) -> Cost | None:
        try:
            return _cost(networks[0], {**at(step), "scale": scale, **data}, imgsz)
        except (AssertionError, RuntimeError, ValueError):  # attention, for one, takes multiples of its heads only
            return None

    step = _narrowest(cost_at, dearest, round(width * _STEPS))
    if step is None:
        raise ConfigError(
            f"control=True: {first.name} cannot be built at a width that costs as much as the dearest of "
            f"{', '.join(model.label for model in others)}, {dearest.parameters:,} parameters and {dearest.gflops:.1f} "
            "GFLOPs; leave control= out"
        )
    file = folder / f"{Path(first.file).stem}-control.yaml"  # the parser reads the scale from the name's beginning
    head = f"# {first.name} at width {step / _STEPS:g} instead of {width:g}: the control of a comparison\n"
    write(file, head + _text(at(step)))
    (control,) = found_models.find([str(file)])
    label = f"{first.label}-control"
    while label in {model.label for model in models}:
        label += "-2"
    control = control._replace(label=label, name=label, width=step / _STEPS)
    if isinstance(arguments["freeze"], int):
        return found_models.with_same_layers_frozen([control], arguments["freeze"], arguments["pretrained"])
    return [control]


def _config(model: Model) -> dict[str, Any]:
    """Return what a model's YAML holds."""
    file = Path(model.file) if Path(model.file).is_file() else configs.model(model.file)
    content: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
    return content


def _cost(network: Any, config: dict[str, Any], imgsz: int) -> Cost:
    """Return what a model of a network's kind costs."""
    built = type(network)(copy.deepcopy(config), verbose=False)
    return Cost(sum(parameter.numel() for parameter in built.parameters()), float(get_flops(built, imgsz)))


def _narrowest(cost_at: Callable[[int], Cost | None], least: Cost, first: int) -> int | None:
    """Return the smallest width from which on a model costs at least as much; None if there is none.

    Args:
        cost_at: Returns what it costs at a width; None where it cannot be built.
        least: What it is to cost.
        first: The width to begin at, at which it costs less.
    """
    cost = functools.cache(cost_at)
    widest = _WIDEST * first

    def buildable(step: int) -> int:
        return next((wider for wider in range(step, widest + 1) if cost(wider) is not None), widest + 1)

    def is_enough(step: int) -> bool:
        found = cost(buildable(step)) if buildable(step) <= widest else None
        return found is None or found.reaches(least)

    more = 1
    while not is_enough(first + more):
        more *= 2
    step = buildable(bisect_left(range(first + more), True, lo=first, key=is_enough))
    return step if step <= widest else None


def _text(config: dict[str, Any]) -> str:
    """Return a model YAML, a line for each row."""
    lines = []
    for key, value in config.items():
        if key in {"backbone", "head"}:
            lines += [f"{key}:", *(f"  - {_flow(row)}" for row in value)]
        else:
            lines.append(f"{key}: {_flow(value)}")
    return "\n".join(lines) + "\n"


def _flow(value: Any) -> str:
    """Return a value as YAML in one line."""
    text = yaml.safe_dump([value], default_flow_style=True, width=float("inf"), sort_keys=False, allow_unicode=True)
    return text.strip()[1:-1]
