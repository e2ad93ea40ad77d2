"""The data set that the package draws: the same bytes everywhere, whole or not there at all."""

from __future__ import annotations

import hashlib
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import REPO, SETTINGS, python, run
from ultralytics.data.utils import check_det_dataset
from ultralytics.utils import YAML

from yolo_focal import ConfigError, shapes

# Of every file's name and content. A data set that users have drawn is never drawn again: if this must ever change, the
# folder's name in cfg/shapes.yaml must change with it.
DIGEST = "60799b1e1d56fc22d3f7c0359181b6f81546cab5a56deb21109a588e15e1b94f"


def digest(folder: Path) -> str:
    total = hashlib.sha256()
    for file in sorted(folder.rglob("*.bmp")) + sorted(folder.rglob("*.txt")):
        total.update(file.relative_to(folder).as_posix().encode() + b"\0" + file.read_bytes())
    return total.hexdigest()


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shapes") / "set"
    shapes.draw(folder)
    return folder


def test_the_same_bytes_on_every_machine(drawn: Path) -> None:
    assert digest(drawn) == DIGEST


def test_the_set_is_whole(drawn: Path) -> None:
    for split, count in shapes.COUNTS.items():
        images = sorted((drawn / "images" / split).iterdir())
        labels = sorted((drawn / "labels" / split).iterdir())
        assert [f.stem for f in images] == [f.stem for f in labels] == [f"{i:04}" for i in range(count)]
        assert all(f.read_text() for f in labels)
    assert sorted(p.name for p in drawn.parent.iterdir()) == ["set"]


def test_no_image_is_in_both_splits(drawn: Path) -> None:
    files = [*(drawn / "images").rglob("*.bmp")]
    assert len({hashlib.sha256(f.read_bytes()).digest() for f in files}) == len(files)


@pytest.mark.parametrize("index", range(20))
def test_labels_are_where_the_shapes_are(index: int) -> None:
    image, found = shapes.scene("val", index)
    assert image.shape == (shapes.SIZE, shapes.SIZE, 3)
    for shape in found:
        left, top, right, bottom = shapes.box(shape)
        assert 0 <= left < right <= shapes.SIZE
        assert 0 <= top < bottom <= shapes.SIZE
        mask = np.zeros(image.shape[:2], np.uint8)
        cv2.fillPoly(mask, [(shape.outline // 16).astype(np.int32)], 1)
        ys, xs = mask.nonzero()
        assert max(abs(xs.min() - left), abs(ys.min() - top), abs(xs.max() - right), abs(ys.max() - bottom)) <= 2
        inside = image[mask > 0].astype(int)
        paint = np.array(shapes._PAINT[shapes.NAMES[shape.cls]])
        assert abs(np.median(inside, axis=0) - paint).max() <= 55


def test_the_yaml_says_what_is_drawn() -> None:
    text = (REPO / "cfg" / "shapes.yaml").read_text()
    train, val = shapes.COUNTS.values()
    assert f"{train} training and {val} validation images of {shapes.SIZE}x{shapes.SIZE} pixels" in text
    assert f"imgsz={shapes.SIZE}" in text
    names = YAML.load(REPO / "cfg" / "shapes.yaml")["names"]
    assert tuple(names.values()) == shapes.NAMES


def test_ultralytics_draws_it_on_first_use() -> None:
    data = check_det_dataset("shapes.yaml")
    assert Path(data["path"]) == SETTINGS / "datasets" / "yolo-focal-shapes"
    assert digest(data["path"]) == DIGEST


def test_interrupted_it_leaves_nothing_and_draws_again(tmp_path: Path) -> None:
    code = f"from yolo_focal.shapes import draw; draw({str(tmp_path / 'set')!r})"
    for sent in (signal.SIGINT, signal.SIGKILL):
        process = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while not list(tmp_path.glob(".set-*/images/train/0020.bmp")):
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.01)
        process.send_signal(sent)
        assert process.wait() != 0
        assert not (tmp_path / "set").exists()
        assert (list(tmp_path.glob(".set-*")) == []) == (sent == signal.SIGINT)
    python(code, tmp_path)
    assert digest(tmp_path / "set") == DIGEST


def test_files_that_went_missing_are_drawn_again(drawn: Path, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    run("cp", "-r", drawn, folder, cwd=tmp_path)
    run("rm", "-r", folder / "images" / "val", cwd=tmp_path)
    shapes.draw(folder)
    assert digest(folder) == DIGEST


def test_several_at_once_end_with_one_whole_set(tmp_path: Path) -> None:
    threads = [threading.Thread(target=shapes.draw, args=(tmp_path / "set",)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert digest(tmp_path / "set") == DIGEST
    assert [p.name for p in tmp_path.iterdir()] == ["set"]


def test_a_folder_of_the_users_own_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"mine")
    with pytest.raises(ConfigError) as caught:
        shapes.draw(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path}: this folder holds something else than the shapes data set, and it would be lost: "
        "move it away, or write another `path:` into a copy of shapes.yaml"
    )
    assert [p.name for p in tmp_path.iterdir()] == ["photo.jpg"]
