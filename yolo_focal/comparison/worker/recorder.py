"""Records what a validation finds on each image: what the mean average precision of any choice of images is made of."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import distributed
from torch.utils.data.distributed import DistributedSampler
from ultralytics.utils import LOGGER, ops

from yolo_focal.comparison.stats.average_precision import Scorer
from yolo_focal.comparison.store import validations
from yolo_focal.comparison.store.run_folder import METRICS
from yolo_focal.comparison.store.validations import Validation
from yolo_focal.comparison.worker import ultralytics_trainer as ultralytics

_IMAGE, _FLOAT = np.int32, np.float32
_THRESHOLDS = 10  # of IoU, from 0.5 to 0.95
_SAME = 0.005  # detections of the same confidence may come in another order, and in float16 many have the same


def keep(validation: Validation, validator: Any, file: Path) -> None:
    """Write a validation to a file if it has every image and the score that Ultralytics gives it, and else say so.

    Args:
        validation: What was recorded.
        validator: Ultralytics' validator, which has just ended.
        file: The file.
    """
    task, images = ultralytics.validated_task(validator), ultralytics.validated_images(validator)
    score, its_own = Scorer(validation, task).score(), ultralytics.metrics(validator)[METRICS[task]]
    counted_twice = _repeated(validator) / images  # by Ultralytics; each changes the accuracy by one image at most
    if len(validation.images) == images and abs(score - its_own) <= _SAME + counted_twice:
        validations.save(validation, file)
        return
    LOGGER.warning(
        f"{file.name} is not kept: {len(validation.images)} of {images} images were recorded, with a score of "
        f"{score:.4f}, where Ultralytics says {its_own:.4f}"
    )


class Recorder:
    """Collects the validations of a model through Ultralytics' callbacks.

    Args:
        keep: Called with each validation when it ends, and with Ultralytics' validator.

    Attributes:
        unsupported: What this release lacks, so that there are no records; None if nothing.
    """

    def __init__(self, keep: Callable[[Validation, Any], None]) -> None:
        self.unsupported: str | None = None
        self._keep = keep
        self._parts: list[dict[str, Any]] = []  # one for each image
        self._wrapped: set[int] = set()

    def attach(self, model: Any) -> None:
        """Add the callbacks to Ultralytics' `YOLO`, before it trains or validates."""
        model.add_callback("on_val_start", self._on_val_start)
        model.add_callback("on_val_end", self._on_val_end)

    def _on_val_start(self, validator: Any) -> None:
        self._parts = []
        if id(validator) in self._wrapped:  # the trainer validates with one and the same each epoch
            return
        self._wrapped.add(id(validator))
        self.unsupported = ultralytics.unsupported(validator, ultralytics.RECORDS)
        if self.unsupported:
            return
        if distributed.is_available() and distributed.is_initialized():
            ultralytics.gather_by(validator, lambda: self._gather_parts(validator))

        def update_and_record(update: Any, preds: Any, batch: dict[str, Any]) -> None:
            of_images = preds[0] if isinstance(preds, tuple) else preds  # masks come beside them in older releases
            self.unsupported = self.unsupported or ultralytics.unsupported_batch(validator, of_images, batch)
            if self.unsupported:
                update(preds, batch)
            elif ultralytics.validated_task(validator) == "classify":
                update(preds, batch)
                self._parts += _guesses(preds, batch)
            else:
                copies = [_boxes_of(pred) for pred in of_images]
                before = len(_statistics(validator)["conf"])
                update(preds, batch)
                self._parts += _detections(validator, before, copies, batch)

        ultralytics.update_by(validator, update_and_record)

    def _gather_parts(self, validator: Any) -> None:
        """Give the first of several processes, each of which validates some of the images, what all have recorded."""
        first = distributed.get_rank() == 0
        gathered: list[Any] = [None] * distributed.get_world_size() if first else []
        distributed.gather_object(self._parts, gathered or None)
        if first and not self.unsupported:
            for parts in gathered[len(gathered) - _repeated(validator) :]:
                parts.pop()
        self._parts = [part for parts in gathered for part in parts]

    def _on_val_end(self, validator: Any) -> None:
        if self._parts and not self.unsupported:
            self._keep(_join(self._parts), validator)
        self._parts = []


def _repeated(validator: Any) -> int:
    """Return how many images the sampler repeats, so that each of several processes has as many."""
    sampler = ultralytics.sampler(validator)
    shared = isinstance(sampler, DistributedSampler)
    return sampler.total_size - ultralytics.validated_images(validator) if shared else 0


def _statistics(validator: Any) -> dict[str, Any]:
    statistics = ultralytics.statistics(validator)
    assert statistics is not None  # as was asked before
    return statistics


def _boxes_of(pred: Any) -> npt.NDArray[np.float32]:
    """Return a prediction's boxes before Ultralytics changes them in place."""
    boxes = pred["bboxes"] if isinstance(pred, dict) else pred
    found: npt.NDArray[np.float32] = _array(boxes[:, :4], _FLOAT)
    return found


def _detections(validator: Any, before: int, predicted: Sequence[Any], batch: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what Ultralytics has added to its statistics for each image of a batch; [] if that cannot be told."""
    statistics = _statistics(validator)
    added = len(statistics["conf"]) - before
    labelled = set(batch["batch_idx"].int().tolist())
    # Older releases add nothing for an image without detections and labels.
    counted = [added == len(predicted) or len(boxes) > 0 or index in labelled for index, boxes in enumerate(predicted)]
    if added != sum(counted):
        return []
    parts, row = [], before
    task = ultralytics.validated_task(validator)
    upright = task != "obb"
    for index, boxes in enumerate(predicted):
        if not counted[index]:
            parts.append(_nothing(batch["im_file"][index]))
            continue
        confidence = _array(statistics["conf"][row], _FLOAT)
        targets = _array(statistics["target_cls"][row], _IMAGE).reshape(-1)
        parts.append(
            {
                "image": batch["im_file"][index],
                "confidence": confidence,
                "cls": _array(statistics["pred_cls"][row], _IMAGE),
                "correct": _array(statistics[ultralytics.CORRECT[task]][row], bool),
                "boxes": _in_pixels(boxes, batch, index) if upright else np.zeros((len(confidence), 4), _FLOAT),
                "target_cls": targets,
                "target_boxes": _target_boxes(batch, index) if upright else np.zeros((len(targets), 4), _FLOAT),
            }
        )
        row += 1
    return parts


def _nothing(image: Any) -> dict[str, Any]:
    """Return the part of an image without detections and labels."""
    none, boxes = np.zeros(0, _IMAGE), np.zeros((0, 4), _FLOAT)
    correct = np.zeros((0, _THRESHOLDS), bool)
    found = {"image": image, "confidence": np.zeros(0, _FLOAT), "cls": none, "correct": correct}
    return {**found, "boxes": boxes, "target_cls": none, "target_boxes": boxes}


def _target_boxes(batch: dict[str, Any], index: int) -> npt.NDArray[np.float32]:
    height, width = batch["img"].shape[2:]
    boxes = batch["bboxes"][batch["batch_idx"] == index].cpu().float()
    return _in_pixels(ops.xywh2xyxy(boxes) * torch.tensor([width, height, width, height]), batch, index)


def _in_pixels(boxes: Any, batch: dict[str, Any], index: int) -> npt.NDArray[np.float32]:
    """Scale boxes from the network's input to the original image."""
    if not len(boxes):
        return np.zeros((0, 4), _FLOAT)
    shapes = tuple(batch["img"].shape[2:]), batch["ori_shape"][index]
    scaled = ops.scale_boxes(
        shapes[0], torch.as_tensor(boxes).float().clone(), shapes[1], ratio_pad=batch["ratio_pad"][index]
    )
    found: npt.NDArray[np.float32] = _array(scaled, _FLOAT)
    return found


def _guesses(preds: torch.Tensor, batch: dict[str, Any]) -> list[dict[str, Any]]:
    """Return each image's most probable class; classification batches do not name their images, their bytes do."""
    confidence, guess = preds.float().max(1)
    parts = []
    for index, target in enumerate(batch["cls"].reshape(-1).tolist()):
        pixels = np.ascontiguousarray(_array(batch["img"][index], np.float16))
        parts.append(
            {
                "image": f"{zlib.crc32(pixels.tobytes()):08x}",
                "confidence": _array(confidence[index : index + 1], _FLOAT),
                "cls": _array(guess[index : index + 1], _IMAGE),
                "correct": np.array([[int(guess[index]) == int(target)]]),
                "boxes": np.zeros((1, 4), _FLOAT),
                "target_cls": np.array([target], _IMAGE),
                "target_boxes": np.zeros((1, 4), _FLOAT),
            }
        )
    return parts


def _join(parts: Sequence[dict[str, Any]]) -> Validation:
    """Join the images' parts in the order of their names, which is the same for every model and seed."""
    parts = sorted(parts, key=lambda part: str(part["image"]))
    names = [Path(str(part["image"])).name for part in parts]

    def together(key: str) -> Any:
        return np.concatenate([part[key] for part in parts])

    def owners(key: str) -> npt.NDArray[np.int32]:
        return np.repeat(np.arange(len(parts), dtype=_IMAGE), [len(part[key]) for part in parts])

    return Validation(
        np.array(names),
        owners("confidence"),
        together("confidence"),
        together("cls"),
        together("correct"),
        together("boxes"),
        owners("target_cls"),
        together("target_cls"),
        together("target_boxes"),
    )


def _array(values: Any, dtype: Any) -> Any:
    values = values.detach().cpu() if isinstance(values, torch.Tensor) else values
    return np.asarray(values).astype(dtype)
