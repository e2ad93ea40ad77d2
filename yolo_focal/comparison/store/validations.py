"""What a validation has found on each image, as a run keeps it in files."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from yolo_focal.files import whole


class Validation(NamedTuple):
    """What a validation has found; of a classification, a detection is an image's first guess.

    Attributes:
        images: Names of the images, sorted.
        image: Index into `images` of each detection, `(N,)`.
        confidence: Of each detection, `(N,)`.
        cls: Class index of each detection, `(N,)`.
        correct: Whether each detection is correct, at each of T IoU thresholds, `(N, T)`.
        boxes: Corners of each detection in pixels of the original image, `(N, 4)`; zeros where boxes are not upright.
        target_image: Index into `images` of each labelled object, `(M,)`.
        target_cls: Class index of each labelled object, `(M,)`.
        target_boxes: As `boxes`, `(M, 4)`.
    """

    images: npt.NDArray[np.str_]
    image: npt.NDArray[np.int32]
    confidence: npt.NDArray[np.float32]
    cls: npt.NDArray[np.int32]
    correct: npt.NDArray[np.bool_]
    boxes: npt.NDArray[np.float32]
    target_image: npt.NDArray[np.int32]
    target_cls: npt.NDArray[np.int32]
    target_boxes: npt.NDArray[np.float32]


def save(validation: Validation, file: Path) -> None:
    """Write a validation to a file that is complete or absent."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with whole(file) as temporary, temporary.open("wb") as opened:
        np.savez_compressed(opened, **validation._asdict())


def load(file: Path) -> Validation | None:
    """Read a validation; None if there is none, or none that is whole."""
    try:
        with np.load(file) as arrays:
            return Validation(**{name: arrays[name] for name in Validation._fields})
    except Exception:  # a missing, empty or cut file: zipfile and NumPy raise many kinds of error
        return None


def load_all(files: Iterable[Path]) -> list[Validation]:
    """Load recorded validations; those that are missing or cut off are left out."""
    return [validation for validation in map(load, files) if validation is not None]
