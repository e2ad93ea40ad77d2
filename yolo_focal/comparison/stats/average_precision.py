"""The score of a validation on any choice of its images, computed as Ultralytics computes it on all of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from ultralytics.utils.metrics import compute_ap

from yolo_focal.comparison.store.validations import Validation

_EPS = 1e-16  # Ultralytics'
_DETECTIONS_PER_CLASS = 1000  # that take as long as what is done once for each class


class Scorer:
    """Computes a validation's score again and again, for other weights of its images.

    A weight is how often an image counts: the score equals that of Ultralytics for a data set in which the image is
    there so many times. Detections are sorted once.

    Args:
        validation: The validation.
        task: Its task; a classification is scored by its accuracy, everything else by mAP50-95.
    """

    def __init__(self, validation: Validation, task: str) -> None:
        self._classify = task == "classify"
        self._validation = validation
        self._detections: dict[int, tuple[npt.NDArray[Any], npt.NDArray[Any]]] = {}
        self._targets: dict[int, npt.NDArray[Any]] = {}
        order = np.argsort(-validation.confidence, kind="stable")
        for cls in np.unique(validation.target_cls).tolist():
            chosen = order[validation.cls[order] == cls]
            self._detections[cls] = validation.image[chosen], validation.correct[chosen].astype(float)
            self._targets[cls] = validation.target_image[validation.target_cls == cls]

    @property
    def images(self) -> int:
        """Number of images."""
        return len(self._validation.images)

    @property
    def work(self) -> int:
        """How long a score takes, in the time that it takes for a detection: about 0.14 microseconds."""
        return len(self._validation.confidence) + _DETECTIONS_PER_CLASS * len(self._detections)

    def score(self, weights: npt.NDArray[Any] | None = None) -> float:
        """Return mAP50-95, or the accuracy, as a share of 1; NaN if no chosen image has an object.

        Args:
            weights: How often each image counts, `(number of images,)`; once each if None.
        """
        if weights is None:
            weights = np.ones(len(self._validation.images))
        if self._classify:
            by_image = weights[self._validation.image]
            return float((by_image * self._validation.correct[:, 0]).sum() / by_image.sum())
        values = [
            _average_precision(weights[images], correct, objects)
            for cls, (images, correct) in self._detections.items()
            for objects in [weights[self._targets[cls]].sum()]
            if objects > 0
        ]
        return float(np.mean(values)) if values else float("nan")


def _average_precision(weights: npt.NDArray[Any], correct: npt.NDArray[Any], objects: float) -> float:
    """Return a class's AP, the mean over the IoU thresholds.

    Args:
        weights: Of each detection, the most confident first.
        correct: Whether it is correct at each threshold, `(N, T)`.
        objects: The sum of the labelled objects' weights.
    """
    counted = weights > 0
    if not counted.any():
        return 0.0
    weights, correct = weights[counted], correct[counted]
    found = np.cumsum(weights[:, None] * correct, axis=0)
    recall = found / (objects + _EPS)
    precision = found / np.cumsum(weights)[:, None]
    return float(np.mean([compute_ap(recall[:, t], precision[:, t])[0] for t in range(correct.shape[1])]))
