"""Draws the shapes data set: seeded, and the same bytes on every machine.

To that end everything is computed in whole numbers (no library's rasteriser or float rounding), random numbers come
from NumPy's legacy generator, whose streams are frozen, and images are uncompressed (encoders differ by version).
"""

from __future__ import annotations

import math
import os
import shutil
import tempfile
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from yolo_focal.errors import ConfigError

Array = npt.NDArray[np.int64]

NAMES = ("circle", "square", "triangle", "star")
SIZE = 128  # pixels, both sides
COUNTS = {"train": 480, "val": 120}
MARK = ".yolo-focal-shapes"  # a file that says that a folder is ours to replace

_GRID = 16  # vertices lie on a grid of 1/16 pixel
_SAMPLES = 4  # anti-aliasing: samples per pixel and axis
_TURN = 360
_ONE = 1 << 12  # the unit of the table below
_COS = [round(_ONE * math.cos(2 * math.pi * k / _TURN)) for k in range(_TURN)]


# Blue, green, red. A colour of its own is what lets a class be told apart after minutes of training.
_PAINT = {"circle": (50, 60, 205), "square": (205, 90, 50), "triangle": (60, 190, 60), "star": (50, 205, 225)}
_SHADE = 40


class Shape(NamedTuple):
    """A drawn object: its class, an index into `NAMES`, and its outline, `(N, 2)` x and y in 1/16 pixel."""

    cls: int
    outline: Array


def draw(path: str | Path) -> None:
    """Draw the whole set into the folder `path`, which appears only when the last file is written.

    Args:
        path: The data set's folder; gets `images/train`, `images/val`, `labels/train` and `labels/val`.

    Raises:
        ConfigError: `path` exists and holds something else.
    """
    from ultralytics.utils import TQDM

    path = Path(path)
    if _is_whole(path):
        return
    if path.exists():
        _remove_remains(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    try:
        todo = [(split, i) for split, count in COUNTS.items() for i in range(count)]
        for split, i in TQDM(todo, desc=f"Drawing {path.name}"):
            _write(unfinished, split, i)
        (unfinished / MARK).touch()
        unfinished.chmod(0o755)  # mkdtemp's folders are for their owner alone
        _put_in_place(unfinished, path)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def scene(split: str, index: int) -> tuple[npt.NDArray[np.uint8], list[Shape]]:
    """Draw one image.

    Args:
        split: `train` or `val`.
        index: The image's number within the split.

    Returns:
        The image, `(SIZE, SIZE, 3)`, and the shapes on it.
    """
    rng = np.random.RandomState([list(COUNTS).index(split), index])
    image = _background(rng)
    for _ in range(_pick(rng, 2, 7)):  # lines that belong to no class
        _fill(image, _line(rng), _color(rng))
    shapes: list[Shape] = []
    taken: list[tuple[int, int, int, int]] = []
    for _ in range(_pick(rng, 1, 6)):
        shape = _shape(rng)
        left, top, right, bottom = box(shape)
        if any(left < r and l < right and top < b and t < bottom for l, t, r, b in taken):  # noqa: E741
            continue
        taken.append((left, top, right, bottom))
        shapes.append(shape)
        shade = rng.randint(-_SHADE, _SHADE + 1, 3, dtype=np.int32)
        _fill(image, shape.outline, np.array(_PAINT[NAMES[shape.cls]], np.int64) + shade)
    noise = rng.randint(-14, 15, image.shape, dtype=np.int32)
    return np.clip(image + noise, 0, 255).astype(np.uint8), shapes


def box(shape: Shape) -> tuple[int, int, int, int]:
    """Return a shape's bounding box in whole pixels: left, top, right and bottom."""
    left, top = shape.outline.min(axis=0) // _GRID
    right, bottom = -(-shape.outline.max(axis=0) // _GRID)
    return int(left), int(top), int(right), int(bottom)


def _write(folder: Path, split: str, index: int) -> None:
    image, shapes = scene(split, index)
    file = folder / "images" / split / f"{index:04}.bmp"
    label = folder / "labels" / split / f"{index:04}.txt"
    file.parent.mkdir(parents=True, exist_ok=True)
    label.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(cv2.imencode(".bmp", image)[1].tobytes())
    label.write_bytes("".join(_label(s) for s in shapes).encode())


def _label(shape: Shape) -> str:
    left, top, right, bottom = box(shape)
    values = (left + right) / 2 / SIZE, (top + bottom) / 2 / SIZE, (right - left) / SIZE, (bottom - top) / SIZE
    return f"{shape.cls} " + " ".join(f"{v:.6f}" for v in values) + "\n"


def _is_whole(path: Path) -> bool:
    return all(
        len(list((path / kind / split).glob(f"*{suffix}"))) == count
        for kind, suffix in (("images", ".bmp"), ("labels", ".txt"))
        for split, count in COUNTS.items()
    )


def _remove_remains(path: Path) -> None:
    if any(path.iterdir()) and not (path / MARK).exists():
        raise ConfigError(
            f"{path}: this folder holds something else than the shapes data set, and it would be lost: "
            "move it away, or write another `path:` into a copy of shapes.yaml"
        )
    shutil.rmtree(path)


def _put_in_place(unfinished: Path, path: Path) -> None:
    try:
        os.replace(unfinished, path)  # noqa: PTH105
    except OSError:
        if not _is_whole(path):  # where it is, another process has just drawn the same set
            raise


def _pick(rng: np.random.RandomState, low: int, high: int) -> int:
    # A fixed width: the default integer, and with it the stream, differs between platforms.
    return int(rng.randint(low, high, dtype=np.int32))


def _color(rng: np.random.RandomState) -> Array:
    return rng.randint(0, 256, 3, dtype=np.int32).astype(np.int64)


def _background(rng: np.random.RandomState) -> Array:
    corners = [_color(rng) // 2 + 64 for _ in range(4)]
    x: Array = np.arange(SIZE, dtype=np.int64)[None, :, None]
    y: Array = np.arange(SIZE, dtype=np.int64)[:, None, None]
    top: Array = corners[0] * (SIZE - x) + corners[1] * x
    bottom: Array = corners[2] * (SIZE - x) + corners[3] * x
    image: Array = (top * (SIZE - y) + bottom * y) // (SIZE * SIZE)
    return image


def _point(center: tuple[int, int], radius: int, angle: int) -> tuple[int, int]:
    return (
        center[0] + radius * _COS[angle % _TURN] // _ONE,
        center[1] + radius * _COS[(angle - _TURN // 4) % _TURN] // _ONE,
    )


def _line(rng: np.random.RandomState) -> Array:
    ends = [(_pick(rng, 0, SIZE * _GRID), _pick(rng, 0, SIZE * _GRID)) for _ in range(2)]
    width = _pick(rng, _GRID, 3 * _GRID)
    (x1, y1), (x2, y2) = ends
    dx, dy = (width, 0) if abs(y2 - y1) > abs(x2 - x1) else (0, width)
    return np.array([(x1, y1), (x2, y2), (x2 + dx, y2 + dy), (x1 + dx, y1 + dy)])


def _shape(rng: np.random.RandomState) -> Shape:
    cls = _pick(rng, 0, len(NAMES))
    radius = _pick(rng, 9 * _GRID, 25 * _GRID)
    center = (_pick(rng, radius, SIZE * _GRID - radius), _pick(rng, radius, SIZE * _GRID - radius))
    corners = {"circle": 36, "square": 4, "triangle": 3, "star": 10}[NAMES[cls]]
    start = _pick(rng, 0, _TURN)
    radii = [radius, radius * 2 // 5 if NAMES[cls] == "star" else radius]
    outline = [_point(center, radii[k % 2], start + k * _TURN // corners) for k in range(corners)]
    return Shape(cls, np.array(outline))


def _fill(image: Array, outline: Array, color: Array) -> None:
    """Fill a polygon: each pixel takes on the colour by the share of its samples that lie inside (even-odd rule)."""
    left, top = np.maximum(outline.min(axis=0) // _GRID, 0)
    right, bottom = np.minimum(outline.max(axis=0) // _GRID + 1, SIZE)
    step = _GRID // _SAMPLES
    x = np.arange(left * _GRID, right * _GRID, step)[None, :] + step // 2
    y = np.arange(top * _GRID, bottom * _GRID, step)[:, None] + step // 2
    inside = np.zeros((y.size, x.size), bool)
    for (x1, y1), (x2, y2) in zip(outline, np.roll(outline, -1, axis=0)):
        side = (x - x1) * (y2 - y1) - (x2 - x1) * (y - y1)
        inside ^= ((y1 > y) != (y2 > y)) & ((side < 0) == (y2 > y1))
    share = inside.reshape(y.size // _SAMPLES, _SAMPLES, x.size // _SAMPLES, _SAMPLES).sum(axis=(1, 3))[..., None]
    region = image[top:bottom, left:right]
    region[:] = (color * share + region * (_SAMPLES**2 - share)) // _SAMPLES**2
