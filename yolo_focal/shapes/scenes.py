"""Draws the images of the shapes data sets and returns the shapes on them, the same on every machine.

To that end everything is computed in integers, without a library's rasteriser or floating-point rounding, and random
numbers come from NumPy's legacy generator, whose streams do not change between versions.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.int64]

NAMES = ("circle", "square", "triangle", "star")
KEYPOINTS = ("top", "right", "bottom", "left", "center")
SIZE = 128  # pixels, both sides
SPLITS = ("train", "val")

_GRID = 16  # vertices lie on a grid of 1/16 pixel
_SAMPLES = 4  # anti-aliasing: samples per pixel and axis
_TURN = 360  # degrees
_ONE = 1 << 12  # fixed-point representation of 1 in the table of cosines
_COS = [round(_ONE * math.cos(2 * math.pi * k / _TURN)) for k in range(_TURN)]

# Blue, green, red. Each class has its own colour, so that a detector learns the classes in a few minutes of training.
_PAINT = {"circle": (50, 60, 205), "square": (205, 90, 50), "triangle": (60, 190, 60), "star": (50, 205, 225)}
_SHADE = 40  # largest random change of a colour value


class Shape(NamedTuple):
    """A drawn object. All coordinates are in 1/16 pixel.

    Attributes:
        cls: Its class, an index into `NAMES`.
        outline: Its corners, `(N, 2)`, x and y; a circle is a polygon of 36 corners.
        center: x and y of its centre.
        angle: Direction of its oriented box, in degrees from the x axis towards the y axis.
    """

    cls: int
    outline: Array
    center: tuple[int, int]
    angle: int


def scene(split: str, index: int, most: int = 5) -> tuple[npt.NDArray[np.uint8], list[Shape]]:
    """Draw one image.

    Args:
        split: `train` or `val`.
        index: The image's index within the split.
        most: Largest number of shapes on it; at least 1.

    Returns:
        The image, `(SIZE, SIZE, 3)`, BGR, and the shapes on it.
    """
    rng = np.random.RandomState([SPLITS.index(split), index])
    image = _background(rng)
    for _ in range(_pick(rng, 2, 7)):  # lines, which have no label
        _fill(image, _line(rng), _color(rng))
    shapes: list[Shape] = []
    taken: list[tuple[int, int, int, int]] = []
    for _ in range(_pick(rng, 1, most + 1)):
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
    """Return a shape's bounding box, rounded outwards to pixels: left, top, right and bottom."""
    left, top = shape.outline.min(axis=0) // _GRID
    right, bottom = -(-shape.outline.max(axis=0) // _GRID)
    return int(left), int(top), int(right), int(bottom)


def outline(shape: Shape) -> npt.NDArray[np.float64]:
    """Return a shape's corners, normalised to the image size, `(N, 2)`."""
    return _normalized(shape.outline)


def keypoints(shape: Shape) -> npt.NDArray[np.float64]:
    """Return a shape's `KEYPOINTS`, normalised to the image size, `(5, 2)`; of equally extreme corners, the first."""
    x, y = shape.outline.T
    extremes = [shape.outline[i] for i in (y.argmin(), x.argmax(), y.argmax(), x.argmin())]
    return _normalized(np.array([*extremes, shape.center]))


def oriented_box(shape: Shape) -> npt.NDArray[np.float64]:
    """Return the corners of a shape's oriented box, normalised to the image size, `(4, 2)`.

    Corners outside the image are clipped to its edge, because Ultralytics rejects labels outside it.
    """
    cos, sin = _COS[shape.angle % _TURN], _COS[(shape.angle - _TURN // 4) % _TURN]
    axes = np.array([(cos, sin), (-sin, cos)])
    along = shape.outline @ axes.T
    (a1, b1), (a2, b2) = along.min(axis=0), along.max(axis=0)
    corners: Array = np.array([(a1, b1), (a2, b1), (a2, b2), (a1, b2)]) @ axes // _ONE**2
    return _normalized(np.clip(corners, 0, SIZE * _GRID))


def _normalized(points: Array) -> npt.NDArray[np.float64]:
    fractions: npt.NDArray[np.float64] = points / (SIZE * _GRID)
    return fractions


def _pick(rng: np.random.RandomState, low: int, high: int) -> int:
    # With an explicit dtype, because the default integer type, and with it the stream, differs between platforms.
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
    # The normal of a square's side is 45 degrees from its corner. A circle's box may have any direction.
    angle = {"circle": 0, "square": start + _TURN // 8}.get(NAMES[cls], start)
    return Shape(cls, np.array(outline), center, angle)


def _fill(image: Array, outline: Array, color: Array) -> None:
    """Fill a polygon; each pixel is blended with the colour by the fraction of its samples inside (even-odd rule)."""
    left, top = np.maximum(outline.min(axis=0) // _GRID, 0)
    right, bottom = np.minimum(outline.max(axis=0) // _GRID + 1, SIZE)
    step = _GRID // _SAMPLES
    x = np.arange(left * _GRID, right * _GRID, step)[None, :] + step // 2
    y = np.arange(top * _GRID, bottom * _GRID, step)[:, None] + step // 2
    inside = np.zeros((y.size, x.size), bool)
    for (x1, y1), (x2, y2) in zip(outline, np.roll(outline, -1, axis=0), strict=True):
        side = (x - x1) * (y2 - y1) - (x2 - x1) * (y - y1)
        inside ^= ((y1 > y) != (y2 > y)) & ((side < 0) == (y2 > y1))
    count = inside.reshape(y.size // _SAMPLES, _SAMPLES, x.size // _SAMPLES, _SAMPLES).sum(axis=(1, 3))[..., None]
    region = image[top:bottom, left:right]
    region[:] = (color * count + region * (_SAMPLES**2 - count)) // _SAMPLES**2
