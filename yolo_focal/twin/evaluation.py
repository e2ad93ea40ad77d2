"""Evaluates a checkpoint's twin beside the original, on the validation images of a data set."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from ultralytics import YOLO
from ultralytics.data.utils import check_cls_dataset, check_det_dataset
from ultralytics.utils import LOGGER

from yolo_focal import images

_CONFIDENCE = 0.25  # of the detections that become labels: those that `yolo predict` shows
_VISIBLE = 0.5  # confidence of the keypoints that become visible ones: those that `yolo predict` draws
_TASKS = {"detect", "segment", "pose", "obb"}  # whose predictions can be written as labels


class Evaluation:
    """How accurate a twin is beside the original, or how often both agree.

    Where the data set's classes are not the original's, its labels say nothing about either: then the twin is evaluated
    by what the original predicts on the validation images. Nothing in the data set is changed.

    Args:
        yolo: The original, as loaded from its checkpoint.
        model: The checkpoint.
        data: The data set, as for `yolo val data=`.
        folder: An empty folder, for labels and for what Ultralytics writes.
    """

    def __init__(self, yolo: Any, model: str, data: str, folder: Path) -> None:
        self._folder, self._data, self._task = folder, data, yolo.task
        dataset = check_cls_dataset(data, split="val") if yolo.task == "classify" else check_det_dataset(data)
        self._has_labels = _have_same_classes(yolo.model, dataset)
        self._before: dict[str, float] = {}
        if self._has_labels:
            self._before = self._validate(model, data)
            return
        files = images.readable(images.of_split(dataset["val"]), f"data={data}")
        LOGGER.info(
            f"data={data}: its classes are not those of {model}, so the twin is compared with what the original "
            f"predicts on the {len(files)} validation images, and not with their labels"
        )
        self._images = folder / "images" / "val"
        _link(files, self._images)
        if yolo.task == "classify":
            self._top1 = [result.probs.top1 for result in self._predict(model)]
        elif yolo.task in _TASKS:
            self._data = str(folder / "data.yaml")
            self._count = self._write_labels(yolo.model, model)
            if self._count:
                self._before = self._validate(model, self._data)

    def report(self, twin: Path) -> list[str]:
        """Evaluate a twin and return lines that say how good it is."""
        if self._task == "classify" and not self._has_labels:
            same = np.mean([result.probs.top1 == top1 for result, top1 in zip(self._predict(twin), self._top1)])
            return [f"the twin predicts the original's class on {same:.1%} of the images"]
        if self._task not in _TASKS and not self._has_labels:
            return [f"agreement with the original is not measured for the task {self._task}"]
        if not self._has_labels and not self._count:
            return [f"the original detects nothing with a confidence of {_CONFIDENCE} on these images"]
        after = self._validate(twin, self._data)
        if self._has_labels:
            return [
                f"{name}: {before:.3f} before, {after[name]:.3f} after ({after[name] / (before or 1):.1%})"
                for name, before in self._before.items()
            ]
        return [
            f"{name} of the twin, with the original's {self._count} detections of confidence {_CONFIDENCE} or more as "
            f"labels: {after[name]:.3f}, and {before:.3f} of the original itself ({after[name] / (before or 1):.1%})"
            for name, before in self._before.items()
        ]

    def _validate(self, model: str | Path, data: str) -> dict[str, float]:
        """Validate; return mAP50-95 of boxes, masks or keypoints, or a classifier's top-1 accuracy."""
        metrics = YOLO(model).val(data=data, plots=False, verbose=False, project=str(self._folder / "runs"))
        results: dict[str, float] = metrics.results_dict
        return {key.split("/")[-1]: v for key, v in results.items() if "mAP50-95" in key or "top1" in key}

    def _predict(self, model: str | Path) -> Iterator[Any]:
        """Yield the results of each image, in the order of their names."""
        arguments = {"save": False, "verbose": False, "project": str(self._folder / "runs")}
        # Masks of the image's own size, because polygons of the network's small ones would be coarse.
        yield from YOLO(model).predict(str(self._images), conf=_CONFIDENCE, retina_masks=True, stream=True, **arguments)

    def _write_labels(self, network: Any, model: str) -> int:
        """Write what the original detects as a data set; return the number of detections."""
        dataset = {"train": "images/val", "val": "images/val", "names": dict(network.names)}
        if self._task == "pose":
            dataset["kpt_shape"] = [*network.yaml["kpt_shape"]]
        Path(self._data).write_text(yaml.safe_dump(dataset), encoding="utf-8")
        labels = self._folder / "labels" / "val"
        labels.mkdir(parents=True)
        count = 0
        for result in self._predict(model):
            lines = _label_lines(result.cpu().numpy())
            (labels / Path(result.path).name).with_suffix(".txt").write_text("\n".join(lines), encoding="utf-8")
            count += len(lines)
        return count


def _have_same_classes(network: Any, dataset: dict[str, Any]) -> bool:
    names = [*network.names.values()] == [*dataset["names"].values()]
    return names and [*network.yaml.get("kpt_shape", [])] == [*dataset.get("kpt_shape", [])]


def _link(files: list[Path], folder: Path) -> None:
    """Make numbered links to images in a folder, which keep their order; copies where links cannot be made."""
    folder.mkdir(parents=True)
    for index, file in enumerate(files):
        link = folder / f"{index:07}{file.suffix}"
        try:
            if images.lacks_end(file):  # Ultralytics writes such a JPEG anew, in early releases through the link
                raise OSError
            link.symlink_to(file.resolve())
        except OSError:
            shutil.copyfile(file, link)


def _label_lines(result: Any) -> list[str]:
    """Return the detections of an image as lines of a label file.

    Args:
        result: Ultralytics' results, as numpy arrays.
    """
    detections = result.boxes if result.obb is None else result.obb
    if result.obb is not None:
        rows = [*detections.xyxyxyxyn]
    elif result.masks is not None:
        rows = [polygon if len(polygon) > 2 else None for polygon in result.masks.xyn]  # a small mask may be a line
    else:
        rows = [*detections.xywhn]
    lines = []
    for index, row in enumerate(rows):
        if row is not None:
            values = [*row.clip(0, 1).ravel(), *_keypoint_values(result.keypoints, index)]
            lines.append(" ".join([f"{int(detections.cls[index])}", *(f"{value:.6f}" for value in values)]))
    return lines


def _keypoint_values(keypoints: Any, index: int) -> list[float]:
    """Return the label values of a detection's keypoints: x, y and, if the task has it, the visibility."""
    if keypoints is None:
        return []
    points = keypoints.xyn[index].clip(0, 1)
    if keypoints.conf is None:
        return [*points.ravel()]
    visible = 2.0 * (keypoints.conf[index] >= _VISIBLE)
    return [*np.concatenate([points, visible[:, None]], axis=1).ravel()]
