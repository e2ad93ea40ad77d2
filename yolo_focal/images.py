"""Reads pictures and shows them as a detector meets them: whole, as crops and in mosaics."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from ultralytics.data.augment import LetterBox
from ultralytics.data.utils import IMG_FORMATS

from yolo_focal.errors import ConfigError

Image = npt.NDArray[np.uint8]

BATCH = 8  # pictures in a batch
_SIZES = (1.0, 0.75, 0.5)  # shares of the network's input size
_ZOOM = (0.6, 1.8)  # of a crop; at 1 the picture's longer side is as long as the network's input
_COLORS = (0.7, 0.4)  # how far saturation and brightness go from 1: Ultralytics' defaults hsv_s and hsv_v
_GRAY = 114  # what Ultralytics pads with


def find(folder: str | Path, argument: str = "images") -> list[Path]:
    """Return the pictures in a folder and in the folders below it, sorted.

    Args:
        folder: The folder.
        argument: What the user calls it, for messages.

    Raises:
        ConfigError: There is no such folder, or no picture in it.
    """
    if not Path(folder).is_dir():
        raise ConfigError(f"{argument}={folder}: there is no such folder; write one that holds pictures")
    # os.walk follows links to folders, and data sets are often linked.
    files = (Path(place, name) for place, _, names in os.walk(folder, followlinks=True) for name in names)
    pictures = sorted(file for file in files if file.suffix[1:].lower() in IMG_FORMATS)
    if not pictures:
        raise ConfigError(f"{argument}={folder}: it holds no picture; write a folder that holds some")
    return pictures


def whole(files: list[Path], side: int) -> Iterator[Tensor]:
    """Show each picture once, padded to a square as in validation.

    Args:
        files: The pictures.
        side: Of the squares, in pixels.

    Yields:
        Batches of RGB values from 0 to 1, `(B, 3, side, side)`, B at most `BATCH`.

    Raises:
        ConfigError: A file is no picture.
    """
    for start in range(0, len(files), BATCH):
        yield batch([pad(_read(file), side) for file in files[start : start + BATCH]])


def views(files: list[Path], side: int, stride: int, count: int, seed: int = 0) -> Iterator[Tensor]:
    """Show pictures over and over: half of the views whole, half as crops or mosaics in changed colours.

    Args:
        files: The pictures; each is shown about equally often.
        side: The network's input size in pixels; a batch has this size, three quarters or half of it.
        stride: What a size must be a multiple of.
        count: Number of views, rounded up to whole batches.
        seed: Of the random choices.

    Yields:
        Batches of RGB values from 0 to 1, `(BATCH, 3, size, size)`.

    Raises:
        ConfigError: A file is no picture.
    """
    rng = np.random.RandomState(seed)
    turn: list[int] = []
    for number in range(-(-count // BATCH)):
        size = max(round(side * _SIZES[number % len(_SIZES)] / stride), 1) * stride
        images = []
        for k in range(BATCH):
            turn = turn or rng.permutation(len(files)).tolist()
            file = files[turn.pop()]
            if k % 2:
                tiles = [file, *(files[i] for i in rng.randint(len(files), size=3))] if rng.rand() < 0.5 else [file]
                image = _recolored(_mosaic(tiles, size, rng), rng)
            else:
                image = pad(_read(file), size)
            images.append(image[:, ::-1] if rng.rand() < 0.5 else image)
        yield batch(images)


def read(file: Path) -> Image:
    """Read a picture as BGR values, `(height, width, 3)`.

    Raises:
        ConfigError: The file is no picture.
    """
    image = cv2.imread(str(file))
    if image is None:
        raise ConfigError(f"{file}: it cannot be read as a picture; move it away or save it anew")
    return cast("Image", image)


_read = functools.lru_cache(maxsize=256)(read)  # mosaics read a picture again and again


def pad(image: Image, side: int) -> Image:
    """Resize a picture, keeping its proportions, and pad it to a square of `side` pixels, as validation does."""
    return cast("Image", LetterBox(new_shape=(side, side))(image=image))


def inside(image: Image, side: int) -> tuple[slice, slice]:
    """Return the rows and the columns of the padded square that the picture itself takes."""
    white = pad(np.full_like(image, 255), side)[..., 0] > _GRAY
    rows, columns = (np.flatnonzero(white.any(axis)).tolist() for axis in (1, 0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def batch(images: list[Image]) -> Tensor:
    """Turn BGR pictures of one size into what a network reads: RGB values from 0 to 1, `(B, 3, height, width)`."""
    rgb = np.stack([image[..., ::-1] for image in images])
    return torch.from_numpy(np.ascontiguousarray(rgb)).permute(0, 3, 1, 2).float() / 255


def _mosaic(files: list[Path], side: int, rng: np.random.RandomState) -> Image:
    """Fill a square with a crop of one picture, or its four corners with crops of four."""
    x, y = rng.randint(side // 4, side * 3 // 4, 2) if len(files) > 1 else (side, side)
    image = np.empty((side, side, 3), np.uint8)
    corners = ((0, 0, x, y), (x, 0, side, y), (0, y, x, side), (x, y, side, side))
    for file, (left, top, right, bottom) in zip(files, corners):
        image[top:bottom, left:right] = _crop(file, right - left, bottom - top, side, rng)
    return image


def _crop(file: Path, width: int, height: int, side: int, rng: np.random.RandomState) -> Image:
    """Cut a piece out of a picture that was zoomed at random; where the picture is smaller, the rest is gray."""
    picture = _read(file)
    zoom = side / max(picture.shape[:2]) * rng.uniform(*_ZOOM)
    image = cv2.resize(picture, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_LINEAR if zoom > 1 else cv2.INTER_AREA)
    top, left = (rng.randint(max(has - wants, 0) + 1) for has, wants in zip(image.shape, (height, width)))
    piece = image[top : top + height, left : left + width]
    out = np.full((height, width, 3), _GRAY, np.uint8)
    out[: piece.shape[0], : piece.shape[1]] = piece
    return out


def _recolored(image: Image, rng: np.random.RandomState) -> Image:
    saturation, brightness = rng.uniform(-1, 1, 2) * _COLORS + 1
    gray = image.mean(axis=2, keepdims=True, dtype=np.float32)
    return cast("Image", ((gray + (image - gray) * saturation) * brightness).clip(0, 255).astype(np.uint8))
