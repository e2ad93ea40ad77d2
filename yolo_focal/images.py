"""Reads images and turns them into network inputs: letterboxed, as random crops and as mosaics."""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import cv2
import numpy as np
import numpy.typing as npt
import torch
from PIL import Image as PillowImage
from torch import Tensor
from ultralytics.data.augment import LetterBox
from ultralytics.data.utils import IMG_FORMATS
from ultralytics.utils import LOGGER

from yolo_focal.errors import ConfigError

Image = npt.NDArray[np.uint8]

BATCH = 8  # images in a batch
_SIZES = (1.0, 0.75, 0.5)  # fractions of the network's input size
_ZOOM = (0.6, 1.8)  # range of a crop's scale; at 1 the image's longer side has the length of the network's input
_COLOR_GAINS = (0.7, 0.4)  # largest deviation from 1 of saturation and brightness: Ultralytics' hsv_s and hsv_v
_GRAY = 114  # Ultralytics' padding value
_NAMED = 3  # files that a message names
_JPEG_START, _JPEG_END = b"\xff\xd8", b"\xff\xd9"
_CACHE = 1 << 30  # limit for the images that `views` keeps, in bytes


def find(folder: str | Path, argument: str = "images") -> list[Path]:
    """Return the image files in a folder and its subfolders, sorted.

    Args:
        folder: The folder.
        argument: Name of the user's argument that names the folder, for messages.

    Raises:
        ConfigError: There is no such folder, or no image in it.
    """
    if not Path(folder).is_dir():
        raise ConfigError(f"{argument}={folder}: there is no such folder; write one that holds images")
    # os.walk and not Path.rglob, which does not follow links to folders; data sets are often linked.
    files = (Path(parent, name) for parent, _, names in os.walk(folder, followlinks=True) for name in names)
    images = sorted(file for file in files if file.suffix[1:].lower() in IMG_FORMATS)
    if not images:
        raise ConfigError(f"{argument}={folder}: it holds no image; write a folder that holds some")
    return images


def readable(files: list[Path], source: str) -> list[Path]:
    """Return the images that can be read whole, and log a line that counts and names the others.

    A JPEG whose end is missing counts as not readable, though some decoders fill the rest with gray. Ultralytics leaves
    it out of a training too. No file is changed.

    Args:
        files: The images.
        source: Where they are from, as the user wrote it, such as `images=photos`.

    Raises:
        ConfigError: None can be read.
    """
    good = [file for file in files if _is_readable(file)]
    bad = [file.name for file in sorted({*files} - {*good})]
    names = ", ".join([*bad[:_NAMED], *(["..."] if len(bad) > _NAMED else [])])
    if not good:
        raise ConfigError(
            f"{source}: none of its {len(files)} images can be read ({names}); convert them to JPEG or PNG"
        )
    if bad:
        LOGGER.warning(f"{source}: {len(bad)} of {len(files)} images cannot be read whole and are left out: {names}")
    return good


def letterboxed(files: list[Path], side: int) -> Iterator[Tensor]:
    """Yield each image once, padded to a square as in validation.

    Args:
        files: The images.
        side: Side of the squares, in pixels.

    Yields:
        Batches of RGB values from 0 to 1, `(B, 3, side, side)`, B at most `BATCH`.

    Raises:
        ConfigError: A file cannot be read as an image.
    """
    for start in range(0, len(files), BATCH):
        yield batch([pad(read(file), side) for file in files[start : start + BATCH]])


def views(files: list[Path], side: int, stride: int, count: int, seed: int = 0) -> Iterator[Tensor]:
    """Yield augmented views of images: half of them letterboxed, half crops or mosaics with colour jitter.

    Half of all views are mirrored.

    Args:
        files: The images; each is used about equally often.
        side: The network's input size in pixels; a batch has this size, three quarters or half of it.
        stride: The network's stride, of which every size is a multiple.
        count: Number of views, rounded up to whole batches.
        seed: Seed of the random choices.

    Yields:
        Batches of RGB values from 0 to 1, `(BATCH, 3, size, size)`.

    Raises:
        ConfigError: A file cannot be read as an image.
    """
    longest = math.ceil(side * _ZOOM[1])  # of an image's sides, at the largest zoom
    # Mosaics read each image many times.
    cached = functools.lru_cache(_CACHE // (3 * longest**2) or 1)(functools.partial(_reduced, longest=longest))
    rng = np.random.RandomState(seed)
    queue: list[int] = []
    for index in range(-(-count // BATCH)):
        size = max(round(side * _SIZES[index % len(_SIZES)] / stride), 1) * stride
        images = []
        for k in range(BATCH):
            queue = queue or rng.permutation(len(files)).tolist()
            file = files[queue.pop()]
            if k % 2:
                tiles = [file, *(files[i] for i in rng.randint(len(files), size=3))] if rng.rand() < 0.5 else [file]
                image = _jitter_colors(_mosaic([cached(tile) for tile in tiles], size, rng), rng)
            else:
                image = pad(cached(file), size)
            images.append(image[:, ::-1] if rng.rand() < 0.5 else image)
        yield batch(images)


def read(file: Path) -> Image:
    """Read an image as BGR values, `(height, width, 3)`.

    Raises:
        ConfigError: The file cannot be read as an image.
    """
    image = cv2.imread(str(file))
    if image is None:
        raise ConfigError(f"{file}: it cannot be read as an image; move it away or save it anew")
    return cast("Image", image)


def _lacks_end(file: Path) -> bool:
    """Return whether a file is a JPEG without its end marker."""
    with file.open("rb") as opened:
        start = opened.read(2)
        opened.seek(-2, os.SEEK_END)
        return start == _JPEG_START and opened.read(2) != _JPEG_END


def _is_readable(file: Path) -> bool:
    """Return whether an image can be decoded from its start to its end."""
    if cv2.imread(str(file)) is None:
        return False
    if not _lacks_end(file):
        return True
    try:  # it may be whole, with something behind it
        with PillowImage.open(file) as image:
            image.load()
    except Exception:  # Pillow's decoders have exceptions of many kinds
        return False
    return True


def _reduced(file: Path, longest: int) -> Image:
    """Read an image, reduced if one of its sides is longer than `longest`."""
    image = read(file)
    scale = longest / max(image.shape[:2])
    return (
        image
        if scale >= 1
        else cast("Image", cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA))
    )


def pad(image: Image, side: int) -> Image:
    """Resize an image, keeping its aspect ratio, and pad it to a square of `side` pixels, as in validation."""
    return cast("Image", LetterBox(new_shape=(side, side))(image=image))


def inside(image: Image, side: int) -> tuple[slice, slice]:
    """Return the rows and the columns of the padded square that the image occupies."""
    white = pad(np.full_like(image, 255), side)[..., 0] > _GRAY
    rows, columns = (np.flatnonzero(white.any(axis)).tolist() for axis in (1, 0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def batch(images: list[Image]) -> Tensor:
    """Convert BGR images of one size to a network's input: RGB values from 0 to 1, `(B, 3, height, width)`."""
    rgb = np.stack([image[..., ::-1] for image in images])
    return torch.from_numpy(np.ascontiguousarray(rgb)).permute(0, 3, 1, 2).float() / 255


def _mosaic(tiles: list[Image], side: int, rng: np.random.RandomState) -> Image:
    """Fill a square with a crop of one image, or its four quadrants with crops of four images."""
    x, y = rng.randint(side // 4, side * 3 // 4, 2) if len(tiles) > 1 else (side, side)
    image = np.empty((side, side, 3), np.uint8)
    quadrants = ((0, 0, x, y), (x, 0, side, y), (0, y, x, side), (x, y, side, side))
    for tile, (left, top, right, bottom) in zip(tiles, quadrants, strict=False):
        image[top:bottom, left:right] = _crop(tile, right - left, bottom - top, side, rng)
    return image


def _crop(image: Image, width: int, height: int, side: int, rng: np.random.RandomState) -> Image:
    """Return a random crop of an image at a random scale; where the image is smaller than the crop, pad with gray."""
    zoom = side / max(image.shape[:2]) * rng.uniform(*_ZOOM)
    zoomed = cv2.resize(image, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_LINEAR if zoom > 1 else cv2.INTER_AREA)
    top, left = (
        rng.randint(max(size - crop, 0) + 1) for size, crop in zip(zoomed.shape[:2], (height, width), strict=True)
    )
    crop = zoomed[top : top + height, left : left + width]
    out = np.full((height, width, 3), _GRAY, np.uint8)
    out[: crop.shape[0], : crop.shape[1]] = crop
    return out


def _jitter_colors(image: Image, rng: np.random.RandomState) -> Image:
    """Change saturation and brightness at random."""
    saturation, brightness = rng.uniform(-1, 1, 2) * _COLOR_GAINS + 1
    gray = image.mean(axis=2, keepdims=True, dtype=np.float32)
    return cast("Image", ((gray + (image - gray) * saturation) * brightness).clip(0, 255).astype(np.uint8))
