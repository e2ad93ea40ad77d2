"""Validates a checkpoint and its twin on a data set that has the checkpoint's classes."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from ultralytics import YOLO
from ultralytics.data.utils import check_cls_dataset, check_det_dataset

from yolo_focal.errors import ConfigError, one_line


def difference(yolo: Any, data: str) -> str:
    """Return what of a data set is not a checkpoint's, so that its labels say nothing about it: classes or keypoints.

    Args:
        yolo: The checkpoint, as loaded.
        data: The data set, as for `yolo val data=`.

    Returns:
        The word, or an empty one.

    Raises:
        ConfigError: There is no such data set, or it is not one for `yolo val`.
    """
    try:
        dataset = check_cls_dataset(data, split="val") if yolo.task == "classify" else check_det_dataset(data)
    except (FileNotFoundError, SyntaxError, TypeError, ValueError) as error:
        raise ConfigError(f"data={data}: {one_line(error)}") from error
    if [*yolo.model.names.values()] != [*dataset["names"].values()]:
        return "classes"
    return "keypoints" if [*yolo.model.yaml.get("kpt_shape", [])] != [*dataset.get("kpt_shape", [])] else ""


def validate(model: str | Path, data: str) -> dict[str, float]:
    """Validate a checkpoint; return mAP50-95 of boxes, masks or keypoints, or a classifier's top-1 accuracy."""
    with tempfile.TemporaryDirectory(prefix="yolo-focal-") as folder:
        results = YOLO(model).val(data=data, plots=False, verbose=False, project=folder).results_dict
    return {key.split("/")[-1]: v for key, v in results.items() if "mAP50-95" in key or "top1" in key}


def compare(before: dict[str, float], after: dict[str, float]) -> list[str]:
    """Return a line for each of a checkpoint's scores, with its twin's."""
    return [
        f"{name}: {score:.3f} before, {after[name]:.3f} after ({after[name] / (score or 1):.1%})"
        for name, score in before.items()
    ]
