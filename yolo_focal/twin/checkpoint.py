"""Derives the twin of a trained checkpoint: replaces or inserts a module, fits it, saves and validates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from ultralytics.utils import LOGGER

from yolo_focal.errors import ConfigError
from yolo_focal.files import whole
from yolo_focal.hook import checkpoints, configs
from yolo_focal.images import find as find_images
from yolo_focal.images import readable
from yolo_focal.twin import evaluation, modules, warm
from yolo_focal.twin.config import FOCAL, check_is_free
from yolo_focal.twin.graft import FITTED, graft

_IMAGES = 5000  # that a layer is fitted to, of a larger folder evenly spread


def derive_checkpoint(
    model: str,
    save: Path,
    images: str = "",
    data: str = "",
    replace: str = "SPPF",
    after: str = "",
    module: str = FOCAL,
) -> None:
    """Write the twin of a checkpoint, with the same classes, task and training arguments.

    A FocalModulation or C2Focal that replaces another module is fitted to its output, and a plot of the loss curve is
    written beside the twin, `<save>-fit.png`. Whoever stops it before the end of the fit finds nothing written.

    Args:
        model: The checkpoint, of any task. Ultralytics downloads its own checkpoints by name.
        save: File of the twin.
        images: A folder of unlabelled images like those that the network is for. Needed where FocalModulation replaces
            another module; where C2Focal does, it is not fitted without.
        data: The data set on which both checkpoints are validated, if it has the original's classes; empty for none.
        replace: The module to replace, as the model YAML names it, or a row's index.
        after: The module to insert another behind, or a row's index; empty to replace.
        module: The registered module that replaces another or is inserted.

    Raises:
        ConfigError: There is no such checkpoint or module, no module to replace, no image to fit to, or `save` exists.
    """
    check_is_free(save)
    if images and (after or module not in FITTED):
        change = f"with={module}" if module not in FITTED else f"after={after}"
        raise ConfigError(
            f"yolo-focal derive: images={images}: nothing is fitted to images where {change}; leave images= out"
        )
    modules.check(module)
    files = find_images(images) if images else []
    yolo = checkpoints.load(model)
    yolo.model.to("cuda" if torch.cuda.is_available() else "cpu").eval()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        grafted = graft(yolo.model, model, replace, after, module)
    fitted = grafted.layers if images or module == FOCAL else {}
    for change in [*grafted.changes, *([] if fitted else grafted.weights)]:
        LOGGER.info(change)
    if fitted:
        files = _choose(files, images, configs.input_channels(yolo.model.yaml), model)
    before = _validate(yolo, model, data) if data else {}
    curve = []
    if fitted:
        curve = warm.fit(yolo.model, fitted, files, int(np.max(yolo.overrides.get("imgsz", 640))))
    yolo.model = grafted.model.cpu()
    _write(yolo, curve, save)
    if before:
        _report(before, save, data)
    LOGGER.info(f"yolo train model={save} data={data or 'my.yaml'}")


def _choose(files: list[Path], images: str, channels: int, model: str) -> list[Path]:
    """Return the images that a layer is fitted to: those that can be read, of at most `_IMAGES`."""
    if not files:
        raise ConfigError(
            "yolo-focal derive: images= is missing: write a folder of images like those that the network is for, "
            "without labels; the new layer is fitted to what the old one computes on them"
        )
    if channels != 3:
        raise ConfigError(f"model={model}: it takes {channels} channels, and a warm start reads RGB images only")
    return readable(files[:: -(-len(files) // _IMAGES)], f"images={images}")


def _validate(yolo: Any, model: str, data: str) -> dict[str, float]:
    """Return the original's scores, or none where the data set's classes are others, which is logged."""
    difference = evaluation.difference(yolo, data)
    if not difference:
        return evaluation.validate(model, data)
    LOGGER.info(f"data={data}: its {difference} are not those of {model}, so neither that nor its twin is validated")
    return {}


def _write(yolo: Any, curve: list[warm.Point], save: Path) -> None:
    """Write the checkpoint and the plot of the fit, both or none."""
    # The metrics of the original's training do not apply to the twin.
    yolo.ckpt = {k: v for k, v in yolo.ckpt.items() if k not in {"train_metrics", "train_results", "best_fitness"}}
    save.parent.mkdir(parents=True, exist_ok=True)
    plot = save.with_name(f"{save.stem}-fit.png")
    with whole(save) as unfinished:
        yolo.save(unfinished)
        if curve:
            with whole(plot) as unfinished_plot:
                _draw(curve, unfinished_plot)
    if curve:
        for line in warm.explained(curve):
            LOGGER.info(line)
        LOGGER.info(f"{plot}: the fit's curve")
    LOGGER.info(f"{save}: written")


def _report(before: dict[str, float], save: Path, data: str) -> None:
    try:
        for line in evaluation.compare(before, evaluation.validate(save, data)):
            LOGGER.info(line)
    except KeyboardInterrupt:  # the twin is there, whatever becomes of its validation
        LOGGER.info(f"{save}: written, but not validated")


def _draw(curve: list[warm.Point], file: Path) -> None:
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot(xlabel="steps", ylabel="unexplained fraction of the old layer's variance")
    for layer in sorted({point.layer for point in curve}):
        points = [point for point in curve if point.layer == layer]
        steps = [point.step for point in points]
        (line,) = axes.plot(steps, [p.fitted for p in points], ":", label=f"layer {layer}, training views")
        held_out = [p.held_out for p in points]
        if not np.isnan(held_out).any():
            axes.plot(steps, held_out, color=line.get_color(), label=f"layer {layer}, held-out images")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(file, dpi=150, format="png")
