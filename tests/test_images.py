"""The images that a warm start is fitted to: which files are found, and the views of them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from support import python

from yolo_focal import ConfigError, images

# One colour for each image, far enough apart to be told from one another in any brightness and saturation.
COLORS = {"red.png": (0, 0, 200), "green.jpg": (0, 200, 0), "below/blue.bmp": (200, 0, 0)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number, (name, color) in enumerate(COLORS.items()):
        file = tmp_path / "real" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(file), np.full((60 + 40 * number, 100, 3), color, np.uint8))
    (tmp_path / "real" / "labels.txt").write_text("0 0.5 0.5 1 1")
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "linked").symlink_to(tmp_path / "real")
    return tmp_path / "set"


def test_images_are_found_below_links_and_folders(folder: Path) -> None:
    found = [file.relative_to(folder / "linked").as_posix() for file in images.find(folder)]
    assert found == ["below/blue.bmp", "green.jpg", "red.png"]


def test_a_letterboxed_image_is_padded_to_a_square(folder: Path) -> None:
    (batch,) = images.letterboxed(images.find(folder), 64)
    assert batch.shape == (3, 3, 64, 64)
    for image, height, rgb in zip(batch, (64, 64, 38), ((0, 0, 200), (0, 200, 0), (200, 0, 0)), strict=True):
        middle, edge = (image[:, y, 32] * 255 for y in (32, 0))
        assert (middle - torch.tensor(rgb)).abs().max() <= 3  # JPEG
        assert (edge.round().unique().tolist() == [114]) == (height < 64)


def test_views_show_every_image_equally_often_in_three_sizes(folder: Path) -> None:
    batches = list(images.views(images.find(folder), 96, 32, 48))
    assert [b.shape[-1] for b in batches] == [96, 64, 64, 96, 64, 64]  # not 72 and 48: multiples of the stride
    assert all(b.shape[:2] == (8, 3) and b.min() >= 0 and b.max() <= 1 for b in batches)
    main = [int(view.mean((1, 2)).argmax()) for b in batches for view in b[::2]]  # every second one is letterboxed
    assert all(6 <= main.count(color) <= 10 for color in range(3))
    mixed = [view for b in batches for view in b[1::2]]
    assert any(len(set(view[:, ::8, ::8].argmax(0).flatten().tolist())) == 3 for view in mixed)  # a mosaic
    assert len({round(float(view.max()), 2) for view in mixed}) > 10  # in changed colours


def test_the_seed_decides_what_is_seen(folder: Path) -> None:
    files = images.find(folder)
    first, again, other = (torch.cat(list(images.views(files, 32, 32, 16, seed))) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_stride_larger_than_the_size_still_gives_images(folder: Path) -> None:
    assert [b.shape[-1] for b in images.views(images.find(folder), 64, 64, 24)] == [64, 64, 64]


def test_what_is_no_image_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        images.find(tmp_path / "none")
    assert str(caught.value) == f"images={tmp_path / 'none'}: there is no such folder; write one that holds images"
    (tmp_path / "notes.txt").touch()
    with pytest.raises(ConfigError) as caught:
        images.find(tmp_path, "source")
    assert str(caught.value) == f"source={tmp_path}: it holds no image; write a folder that holds some"
    (tmp_path / "cut.jpg").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(ConfigError) as caught:
        list(images.letterboxed(images.find(tmp_path), 32))
    assert str(caught.value) == (f"{tmp_path / 'cut.jpg'}: it cannot be read as an image; move it away or save it anew")


@pytest.fixture
def partly(tmp_path: Path) -> Path:
    """A folder with two images and with files that only look like images."""
    photo = np.random.RandomState(0).randint(0, 255, (64, 96, 3), np.uint8)
    for name in ("photo.png", "photo.jpg", "cut.jpg", "cut.png"):
        cv2.imwrite(str(tmp_path / name), photo)
    (tmp_path / "photo.jpg").write_bytes((tmp_path / "photo.jpg").read_bytes() + bytes(100))  # as some cameras do
    for name in ("cut.jpg", "cut.png"):
        (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:3000])
    (tmp_path / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic")
    (tmp_path / "empty.jpg").touch()
    return tmp_path


@pytest.mark.parametrize("lenient", [False, True])
def test_what_cannot_be_read_whole_is_left_out_and_named(
    partly: Path, lenient: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if lenient:  # some releases of OpenCV fill the missing part of a JPEG with gray
        read = cv2.imread
        monkeypatch.setattr(cv2, "imread", lambda file: np.zeros((9, 9, 3)) if "cut.jpg" in file else read(file))
    lines: list[str] = []
    monkeypatch.setattr(images.LOGGER, "warning", lines.append)
    before = {file: file.read_bytes() for file in partly.iterdir()}
    found = images.readable(images.find(partly), "images=photos")
    assert [file.name for file in found] == ["photo.jpg", "photo.png"]
    assert lines == [
        "images=photos: 4 of 6 images cannot be read whole and are left out: cut.jpg, cut.png, empty.jpg, ..."
    ]
    assert {file: file.read_bytes() for file in partly.iterdir()} == before


def test_where_none_can_be_read_that_is_an_error(partly: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images.LOGGER, "warning", pytest.fail)
    assert images.readable([partly / "photo.png"], "images=photos") == [partly / "photo.png"]
    with pytest.raises(ConfigError) as caught:
        images.readable([partly / "phone.heic", partly / "cut.jpg"], "images=photos")
    assert str(caught.value) == (
        "images=photos: none of its 2 images can be read (cut.jpg, phone.heic); convert them to JPEG or PNG"
    )


PEAK = """
import resource, sys
from pathlib import Path
from yolo_focal import images
images.read(Path("0.jpg"))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for _ in images.views(images.find("."), 640, 32, 16):
    pass
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10)
"""


def test_large_photos_do_not_fill_the_memory(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "0.jpg"), np.full((3000, 4000, 3), 90, np.uint8))
    for number in range(1, 12):
        (tmp_path / f"{number}.jpg").symlink_to("0.jpg")
    assert int(python(PEAK, tmp_path)) < 200  # MiB; all twelve have 412


def test_reduced_photos_give_the_same_views(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    y, x = np.mgrid[:800, :1200]
    cv2.imwrite(
        str(tmp_path / "waves.png"), np.stack([128 + 100 * np.sin(v / 40) for v in (x, y, x + y)], -1).astype(np.uint8)
    )
    files = images.find(tmp_path)
    reduced = torch.cat([b for b in images.views(files, 64, 32, 24) if b.shape[-1] == 64])
    monkeypatch.setattr(images, "_reduced", lambda file, longest: images.read(file))  # noqa: ARG005
    assert (torch.cat([b for b in images.views(files, 64, 32, 24) if b.shape[-1] == 64]) - reduced).abs().mean() < 0.02
    monkeypatch.undo()
    monkeypatch.setattr(images, "_CACHE", 0)  # nor does it matter how many of them are kept
    assert torch.equal(torch.cat([b for b in images.views(files, 64, 32, 24) if b.shape[-1] == 64]), reduced)


@pytest.mark.parametrize(("height", "width"), [(60, 100), (100, 60), (77, 77), (99, 100), (3, 100)])
def test_where_an_image_is_in_its_square(height: int, width: int) -> None:
    black = np.zeros((height, width, 3), np.uint8)
    square = images.pad(black, 64)
    rows, columns = images.inside(black, 64)
    assert not square[rows, columns].any()
    square[rows, columns] = 114
    assert (square == 114).all()
