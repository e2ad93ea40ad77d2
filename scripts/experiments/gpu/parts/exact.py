"""How far an interrupted and resumed training ends from an uninterrupted one, with mixed precision on.

Two equal uninterrupted trainings say what the device itself leaves to chance.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from results import Job, Options, Row
from ultralytics import YOLO

from yolo_focal.comparison.worker.resume import Snapshots

# Epochs of a training, and those in whose middle it is interrupted: full size, and small.
EPOCHS, DIES_IN = {False: 5, True: 3}, {False: (2, 4), True: (1, 2)}
MODELS = ("yolov8n-focal.yaml", "yolov8n.yaml")


class Stopped(Exception):  # noqa: N818
    """In the place of a killed process."""


def jobs(options: Options) -> Iterator[tuple[str, Job]]:
    """Yield the trainings of each model, then what they differ by."""
    for model in MODELS[:1] if options.small else MODELS:
        for deterministic in (True, False)[: 1 if options.small else 2]:
            folder = Path(options.out).resolve() / "exact" / f"{Path(model).stem}-{deterministic}"
            for name in ("whole", "again", "cut"):
                label = f"{model}, deterministic={deterministic}, {name}"
                yield label, partial(train, options, folder / name, model, deterministic, name == "cut")
            yield f"{model}, deterministic={deterministic}", partial(differences, folder, model, deterministic)


def train(options: Options, folder: Path, model: str, deterministic: bool, cut: bool) -> list[Row]:
    """Train; with `cut`, stop in the middle of two epochs and go on each time."""
    for dies_in in (*DIES_IN[options.small], None) if cut else (None,):
        try:
            once(options, folder, model, deterministic, dies_in)
        except Stopped:
            continue
    return []


def once(options: Options, folder: Path, model: str, deterministic: bool, dies_in: int | None) -> None:
    """Train with snapshots, up to the middle of an epoch or to the end."""

    def end(trainer: Any) -> None:
        if trainer.epoch == dies_in:
            raise Stopped

    yolo = YOLO(model)
    snapshots = Snapshots(folder / "snapshots", 0)
    snapshots.attach(yolo)
    yolo.add_callback("on_train_batch_end", end)
    size = {"imgsz": 64, "batch": 8, "fraction": 0.1} if options.small else {"imgsz": 320, "batch": 16}
    yolo.train(
        **{
            "data": "shapes.yaml",
            "epochs": EPOCHS[options.small],
            "plots": False,
            "amp": True,
            "seed": 0,
            "warmup_epochs": 1,
            **size,
        },
        project=str(folder),
        name="train",
        exist_ok=True,
        device=options.ultralytics_device,
        deterministic=deterministic,
    )
    snapshots.remove()


def differences(folder: Path, model: str, deterministic: bool) -> list[Row]:
    """Compare the final weights, and the last epoch's mAP50-95."""
    weights = {name: final(folder / name) for name in ("whole", "again", "cut")}
    rows = []
    for what, other in (("two equal trainings", "again"), ("interrupted and resumed", "cut")):
        pairs = [(weights["whole"][0][key], value) for key, value in weights[other][0].items()]
        rows.append(
            {
                "model": model,
                "deterministic": deterministic,
                "whole and": what,
                "tensors that differ": sum(not torch.equal(a, b) for a, b in pairs),
                "of": len(pairs),
                "largest difference": max(float((a.double() - b.double()).abs().max()) for a, b in pairs),
                "mAP50-95": weights["whole"][1],
                "the other's": weights[other][1],
            }
        )
    return rows


def final(folder: Path) -> tuple[dict[str, torch.Tensor], float]:
    """Return a training's final weights and its last mAP50-95."""
    checkpoint = torch.load(folder / "train" / "weights" / "last.pt", map_location="cpu", weights_only=False)
    header, *_, last = (folder / "train" / "results.csv").read_text(encoding="utf-8").splitlines()
    column = [name.strip() for name in header.split(",")].index("metrics/mAP50-95(B)")
    return checkpoint["model"].state_dict(), float(last.split(",")[column])
