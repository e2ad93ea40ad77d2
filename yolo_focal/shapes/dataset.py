"""Writes the shapes data sets: the same files, byte by byte, on every machine.

The same images (`scenes.py`) are written with the labels of each of Ultralytics' tasks. They are uncompressed, because
the output of image encoders differs between versions.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from yolo_focal.errors import ConfigError
from yolo_focal.shapes import scenes
from yolo_focal.shapes.scenes import NAMES, SIZE, Shape

COUNTS = {"train": 480, "val": 120}
MARK = ".yolo-focal-shapes"  # marker file of a drawn data set, whose folder may be replaced


def draw(path: str | Path, task: str = "detect") -> None:
    """Draw a data set into a folder, which is created under its name when all files are written.

    Has no effect if the folder already holds the complete data set.

    Args:
        path: The data set's folder. For `classify` its subfolders are `train/<class>` and `val/<class>`, with one shape
            on each image; for the other tasks `images/train`, `images/val`, `labels/train` and `labels/val`.
        task: `detect`, `segment` (outlines), `pose` (a shape's outermost points and its centre), `obb` (boxes along a
            shape's own direction) or `classify`.

    Raises:
        ConfigError: `path` exists and holds other files, or there is no such task.
    """
    from ultralytics.utils import TQDM

    if task not in TASKS:
        raise ConfigError(f"task={task}: there is no such task; write one of {', '.join(TASKS)}")
    path = Path(path)
    if _is_complete(path, task):
        return
    if path.exists():
        _remove_incomplete(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.parent / f".{path.name}-{secrets.token_hex(4)}"
    try:
        unfinished.mkdir()  # within `try`: it may be interrupted as soon as the folder is there
        images = [(split, i) for split, count in COUNTS.items() for i in range(count)]
        for split, i in TQDM(images, desc=f"Drawing {path.name}"):
            TASKS[task](unfinished, split, i)
        (unfinished / MARK).touch()
        _move(unfinished, path, task)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _labelled(values: Callable[[Shape], Iterable[float]]) -> Callable[[Path, str, int], None]:
    """Return a function that writes an image and its label file.

    Args:
        values: The values of a shape's line in the label file, after its class.
    """

    def write(folder: Path, split: str, index: int) -> None:
        image, shapes = scenes.scene(split, index)
        _save(folder / "images" / split / f"{index:04}.bmp", image)
        label = folder / "labels" / split / f"{index:04}.txt"
        label.parent.mkdir(parents=True, exist_ok=True)
        lines = (" ".join([str(s.cls), *(f"{v:.6f}" for v in values(s))]) for s in shapes)
        label.write_bytes("".join(f"{line}\n" for line in lines).encode())

    return write


def _classified(folder: Path, split: str, index: int) -> None:
    """Write an image with one shape to the folder of its class."""
    image, (shape,) = scenes.scene(split, index, most=1)
    _save(folder / split / NAMES[shape.cls] / f"{index:04}.bmp", image)


def _save(file: Path, image: npt.NDArray[np.uint8]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(cv2.imencode(".bmp", image)[1].tobytes())


def _box(shape: Shape) -> tuple[float, ...]:
    """Return a shape's bounding box as in a label file: center x and y, width and height, from 0 to 1."""
    left, top, right, bottom = scenes.box(shape)
    return (left + right) / 2 / SIZE, (top + bottom) / 2 / SIZE, (right - left) / SIZE, (bottom - top) / SIZE


TASKS: dict[str, Callable[[Path, str, int], None]] = {
    "detect": _labelled(_box),
    "segment": _labelled(lambda shape: scenes.outline(shape).flat),
    "pose": _labelled(lambda shape: (*_box(shape), *scenes.keypoints(shape).flat)),
    "obb": _labelled(lambda shape: scenes.oriented_box(shape).flat),
    "classify": _classified,
}


def _is_complete(path: Path, task: str) -> bool:
    suffixes = {"": ".bmp"} if task == "classify" else {"images": ".bmp", "labels": ".txt"}
    return all(
        len(list((path / kind / split).rglob(f"*{suffix}"))) == count
        for kind, suffix in suffixes.items()
        for split, count in COUNTS.items()
    )


def _remove_incomplete(path: Path) -> None:
    """Remove an incomplete data set; raise ConfigError if the folder holds other files."""
    if any(path.iterdir()) and not (path / MARK).exists():
        raise ConfigError(
            f"{path}: this folder holds something else than the shapes data set, and it would be lost: "
            "move it away, or write another `path:` into a copy of the data YAML"
        )
    shutil.rmtree(path)


def _move(unfinished: Path, path: Path, task: str) -> None:
    try:
        os.replace(unfinished, path)  # noqa: PTH105
    except OSError:
        if not _is_complete(path, task):  # otherwise another process has just drawn the same data set
            raise
