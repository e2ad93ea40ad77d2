"""Derives the focal twin of a trained checkpoint: grafts, fits, saves and validates it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from ultralytics import YOLO
from ultralytics.utils import LOGGER

from yolo_focal import pictures, warm
from yolo_focal.errors import ConfigError
from yolo_focal.graft import graft


def derive_checkpoint(model: str, save: Path, images: str = "", data: str = "", replace: str = "SPPF") -> None:
    """Write the focal twin of a checkpoint; its classes, task and training arguments are kept.

    The fit's curve goes into a picture beside it, `<save>-fit.png`.

    Args:
        model: The checkpoint, of any task. Ultralytics downloads its own by name.
        save: Where to write the twin.
        images: A folder of pictures like those that the network is for; they need no labels. Only a classifier without
            a `replace` row does without: there the new layer hands on what it gets.
        data: The data set on whose validation split both are measured; may be left out.
        replace: The module to replace, as the model YAML names it.

    Raises:
        ConfigError: There is no such checkpoint, nothing to replace, no picture to fit to, or another file where the
            twin would be.
    """
    if save.exists():
        raise ConfigError(f"{save}: there is another file of that name; write save= with a new one")
    files = pictures.find(images) if images else []
    yolo = load(model)
    yolo.model.to("cuda" if torch.cuda.is_available() else "cpu").eval()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        grafted = graft(yolo.model, model, replace)
    for change in grafted.changes:
        LOGGER.info(change)
    if grafted.layers:
        _check_pictures(files, yolo.model.yaml.get("channels", 3), model)
    before = _validate(model, data) if data else {}
    if grafted.layers:
        curve = warm.fit(yolo.model, grafted.layers, files, int(np.max(yolo.overrides.get("imgsz", 640))))
        picture = save.with_name(f"{save.stem}-fit.png")
        _draw(curve, picture)
        LOGGER.info(f"{picture}: the fit's curve")
    yolo.model = grafted.model.cpu()
    _write(yolo, save)
    LOGGER.info(f"{save}: written")
    after = _validate(save, data) if data else {}
    for name, value in before.items():
        LOGGER.info(f"{name}: {value:.3f} before, {after[name]:.3f} after ({after[name] / (value or 1):.1%})")


def load(model: str) -> Any:
    """Load a checkpoint as Ultralytics' `YOLO`.

    Raises:
        ConfigError: There is no such file.
    """
    try:
        return YOLO(model)
    except FileNotFoundError:
        raise ConfigError(
            f"model={model}: there is no such file; write a checkpoint, such as runs/detect/train/weights/best.pt"
        ) from None


def _check_pictures(files: list[Path], channels: int, model: str) -> None:
    if not files:
        raise ConfigError(
            "yolo-focal derive: images= is missing: write a folder of pictures like those that the network is for, "
            "without labels; the new layer is fitted to what the old one computes on them"
        )
    if channels != 3:
        raise ConfigError(f"model={model}: it takes {channels} channels, and a warm start reads RGB pictures only")


def _write(yolo: Any, save: Path) -> None:
    # What the original's training measured is not true of the twin.
    yolo.ckpt = {k: v for k, v in yolo.ckpt.items() if k not in {"train_metrics", "train_results", "best_fitness"}}
    save.parent.mkdir(parents=True, exist_ok=True)
    part = save.with_name(f".{save.name}.part")
    yolo.save(part)
    part.replace(save)


def _validate(model: str | Path, data: str) -> dict[str, float]:
    """Return a checkpoint's main scores: mAP50-95 of boxes, masks or keypoints, top-1 of classifiers."""
    results: dict[str, float] = YOLO(model).val(data=data, plots=False, verbose=False).results_dict
    return {key.split("/")[-1]: v for key, v in results.items() if "mAP50-95" in key or "top1" in key}


def _draw(curve: list[warm.Point], file: Path) -> None:
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot(xlabel="steps", ylabel="unexplained share of the old layer's variance")
    for layer in sorted({point.layer for point in curve}):
        points = [point for point in curve if point.layer == layer]
        steps = [point.step for point in points]
        (line,) = axes.plot(steps, [p.fitted for p in points], ":", label=f"layer {layer}, what the fit sees")
        held_out = [p.held_out for p in points]
        if not np.isnan(held_out).any():
            axes.plot(steps, held_out, color=line.get_color(), label=f"layer {layer}, held-out pictures")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend()
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=150)
