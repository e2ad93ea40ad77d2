"""The pictures that a warm start is fitted to: which are found, and how they are shown."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from yolo_focal import ConfigError, pictures

# One colour a picture, far enough apart to be told from one another in any brightness and saturation.
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


def test_pictures_are_found_below_links_and_folders(folder: Path) -> None:
    found = [file.relative_to(folder / "linked").as_posix() for file in pictures.find(folder)]
    assert found == ["below/blue.bmp", "green.jpg", "red.png"]


def test_a_whole_picture_is_padded_to_a_square(folder: Path) -> None:
    (batch,) = pictures.whole(pictures.find(folder), 64)
    assert batch.shape == (3, 3, 64, 64)
    for image, height, rgb in zip(batch, (64, 64, 38), ((0, 0, 200), (0, 200, 0), (200, 0, 0))):
        middle, edge = (image[:, y, 32] * 255 for y in (32, 0))
        assert (middle - torch.tensor(rgb)).abs().max() <= 3  # JPEG
        assert (edge.round().unique().tolist() == [114]) == (height < 64)


def test_views_show_every_picture_equally_often_in_three_sizes(folder: Path) -> None:
    batches = list(pictures.views(pictures.find(folder), 96, 32, 48))
    assert [b.shape[-1] for b in batches] == [96, 64, 64, 96, 64, 64]  # not 72 and 48: multiples of the stride
    assert all(b.shape[:2] == (8, 3) and b.min() >= 0 and b.max() <= 1 for b in batches)
    main = [int(view.mean((1, 2)).argmax()) for b in batches for view in b[::2]]  # every second one is whole
    assert all(6 <= main.count(color) <= 10 for color in range(3))
    mixed = [view for b in batches for view in b[1::2]]
    assert any(len(set(view[:, ::8, ::8].argmax(0).flatten().tolist())) == 3 for view in mixed)  # a mosaic
    assert len({round(float(view.max()), 2) for view in mixed}) > 10  # in changed colours


def test_the_seed_decides_what_is_seen(folder: Path) -> None:
    files = pictures.find(folder)
    first, again, other = (torch.cat(list(pictures.views(files, 32, 32, 16, seed))) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_stride_larger_than_the_size_still_gives_pictures(folder: Path) -> None:
    assert [b.shape[-1] for b in pictures.views(pictures.find(folder), 64, 64, 24)] == [64, 64, 64]


def test_what_is_no_picture_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        pictures.find(tmp_path / "none")
    assert str(caught.value) == f"images={tmp_path / 'none'}: there is no such folder; write one that holds pictures"
    (tmp_path / "notes.txt").touch()
    with pytest.raises(ConfigError) as caught:
        pictures.find(tmp_path, "source")
    assert str(caught.value) == f"source={tmp_path}: it holds no picture; write a folder that holds some"
    (tmp_path / "cut.jpg").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(ConfigError) as caught:
        list(pictures.whole(pictures.find(tmp_path), 32))
    assert str(caught.value) == (
        f"{tmp_path / 'cut.jpg'}: it cannot be read as a picture; move it away or save it anew"
    )


@pytest.mark.parametrize(("height", "width"), [(60, 100), (100, 60), (77, 77), (99, 100), (3, 100)])
def test_where_a_picture_is_in_its_square(height: int, width: int) -> None:
    black = np.zeros((height, width, 3), np.uint8)
    square = pictures.pad(black, 64)
    rows, columns = pictures.inside(black, 64)
    assert not square[rows, columns].any()
    square[rows, columns] = 114
    assert (square == 114).all()
