"""Puts the shapes data sets on disk: seeded, and the same bytes on every machine.

One set of pictures (`scenes.py`) with the labels of each of Ultralytics' tasks. Images are uncompressed, as encoders
differ by version.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from yolo_focal import scenes
from yolo_focal.errors import ConfigError
from yolo_focal.scenes import NAMES, SIZE, Shape

COUNTS = {"train": 480, "val": 120}
MARK = ".yolo-focal-shapes"  # a file that says that a folder is ours to replace


def draw(path: str | Path, task: str = "detect") -> None:
    """Draw a whole set into the folder `path`, which appears only when the last file is written.

    Args:
        path: The data set's folder. For `classify` it gets `train/<class>` and `val/<class>`, with one shape on each
            image; for the other tasks `images/train`, `images/val`, `labels/train` and `labels/val`.
        task: `detect`, `segment` (outlines), `pose` (a shape's outermost points and its centre), `obb` (boxes along a
            shape's own direction) or `classify`.

    Raises:
        ConfigError: `path` exists and holds something else, or there is no such task.
    """
    from ultralytics.utils import TQDM

    if task not in TASKS:
        raise ConfigError(f"task={task}: there is no such task; write one of {', '.join(TASKS)}")
    path = Path(path)
    if _is_whole(path, task):
        return
    if path.exists():
        _remove_remains(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    try:
        todo = [(split, i) for split, count in COUNTS.items() for i in range(count)]
        for split, i in TQDM(todo, desc=f"Drawing {path.name}"):
            TASKS[task](unfinished, split, i)
        (unfinished / MARK).touch()
        unfinished.chmod(0o755)  # mkdtemp's folders are for their owner alone
        _put_in_place(unfinished, path, task)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _labelled(values: Callable[[Shape], Iterable[float]]) -> Callable[[Path, str, int], None]:
    """Return what writes an image and its label file, a line for each shape: its class, then `values`."""

    def write(folder: Path, split: str, index: int) -> None:
        image, shapes = scenes.scene(split, index)
        _save(folder / "images" / split / f"{index:04}.bmp", image)
        label = folder / "labels" / split / f"{index:04}.txt"
        label.parent.mkdir(parents=True, exist_ok=True)
        lines = (" ".join([str(s.cls), *(f"{v:.6f}" for v in values(s))]) for s in shapes)
        label.write_bytes("".join(f"{line}\n" for line in lines).encode())

    return write


def _sorted_by_class(folder: Path, split: str, index: int) -> None:
    image, (shape,) = scenes.scene(split, index, most=1)
    _save(folder / split / NAMES[shape.cls] / f"{index:04}.bmp", image)


def _save(file: Path, image: npt.NDArray[np.uint8]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(cv2.imencode(".bmp", image)[1].tobytes())


def _box(shape: Shape) -> tuple[float, ...]:
    left, top, right, bottom = scenes.box(shape)
    return (left + right) / 2 / SIZE, (top + bottom) / 2 / SIZE, (right - left) / SIZE, (bottom - top) / SIZE


TASKS: dict[str, Callable[[Path, str, int], None]] = {
    "detect": _labelled(_box),
    "segment": _labelled(lambda shape: scenes.outline(shape).flat),
    "pose": _labelled(lambda shape: (*_box(shape), *scenes.keypoints(shape).flat)),
    "obb": _labelled(lambda shape: scenes.oriented_box(shape).flat),
    "classify": _sorted_by_class,
}


def _is_whole(path: Path, task: str) -> bool:
    wanted = {"": ".bmp"} if task == "classify" else {"images": ".bmp", "labels": ".txt"}
    return all(
        len(list((path / kind / split).rglob(f"*{suffix}"))) == count
        for kind, suffix in wanted.items()
        for split, count in COUNTS.items()
    )


def _remove_remains(path: Path) -> None:
    if any(path.iterdir()) and not (path / MARK).exists():
        raise ConfigError(
            f"{path}: this folder holds something else than the shapes data set, and it would be lost: "
            "move it away, or write another `path:` into a copy of the data YAML"
        )
    shutil.rmtree(path)


def _put_in_place(unfinished: Path, path: Path, task: str) -> None:
    try:
        os.replace(unfinished, path)  # noqa: PTH105
    except OSError:
        if not _is_whole(path, task):  # where it is, another process has just drawn the same set
            raise
