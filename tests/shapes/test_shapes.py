"""The data sets that the package draws: the same bytes everywhere, complete or not there at all."""

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
from support import COMMAND, REPO, SETTINGS, python, run
from ultralytics.data import YOLODataset
from ultralytics.data.utils import check_det_dataset
from ultralytics.utils import YAML

from yolo_focal import ConfigError, shapes
from yolo_focal.shapes import scenes

# Of every file's name and content. A data set that users have drawn is never drawn again: if this must ever change, the
# folder's name in the data YAML must change with it.
DIGESTS = {
    "detect": "60799b1e1d56fc22d3f7c0359181b6f81546cab5a56deb21109a588e15e1b94f",
    "segment": "543d8378f2f447aed85508836bef16b1d6b855d2f0de5e97898f35a22a8b5c7c",
    "pose": "4fa9088886588cda9907dc067b18f11faef41ed674c6b9758de465c9bfa7862b",
    "obb": "6638e45c1185119e3b333ffd1ff5653031eaf71af5cdeea502af577aeb110db6",
    "classify": "9df8aec0b0e3bc8f00eb447c450d300bfd8238b1641875e2f025fbf3e0a3e771",
}
YAMLS = {"detect": "shapes.yaml", "segment": "shapes-seg.yaml", "pose": "shapes-pose.yaml", "obb": "shapes-obb.yaml"}


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


def test_the_set_is_whole(drawn: Path) -> None:
    assert digest(drawn) == DIGESTS["detect"]
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
    image, drawn_shapes = scenes.scene("val", index)
    assert image.shape == (scenes.SIZE, scenes.SIZE, 3)
    for shape in drawn_shapes:
        left, top, right, bottom = scenes.box(shape)
        assert 0 <= left < right <= scenes.SIZE
        assert 0 <= top < bottom <= scenes.SIZE
        mask = np.zeros(image.shape[:2], np.uint8)
        cv2.fillPoly(mask, [(shape.outline // 16).astype(np.int32)], 1)
        ys, xs = mask.nonzero()
        assert max(abs(xs.min() - left), abs(ys.min() - top), abs(xs.max() - right), abs(ys.max() - bottom)) <= 2
        inside = image[mask > 0].astype(int)
        paint = np.array(scenes._PAINT[scenes.NAMES[shape.cls]])
        assert abs(np.median(inside, axis=0) - paint).max() <= 55


@pytest.mark.parametrize("index", range(20))
def test_the_tasks_agree_on_where_a_shape_is(index: int) -> None:
    for shape in scenes.scene("train", index)[1]:
        left, top, right, bottom = scenes.box(shape)
        outline, points, oriented = (
            part(shape) * scenes.SIZE for part in (scenes.outline, scenes.keypoints, scenes.oriented_box)
        )
        assert (outline.min(0) - (left, top)).min() >= 0
        assert ((right, bottom) - outline.max(0)).min() >= 0
        up, east, down, west, center = points
        assert (west[0], up[1], east[0], down[1]) == (*outline.min(0), *outline.max(0))
        if scenes.NAMES[shape.cls] in {"circle", "square"}:
            assert abs(center - (outline.min(0) + outline.max(0)) / 2).max() < 0.5
        # Every corner lies in the oriented box, which is no larger than the shape's smallest by more than rounding
        # where the shape has sides or an axis of its own to lie along.
        inside = [cv2.pointPolygonTest(oriented.astype(np.float32), tuple(map(float, p)), True) for p in outline]
        cut = oriented.min() == 0 or oriented.max() == scenes.SIZE
        assert cut or min(inside) > -0.3
        (_, _), (width, height), _ = cv2.minAreaRect(outline.astype(np.float32))
        if scenes.NAMES[shape.cls] == "square" and not cut:
            assert cv2.contourArea(oriented.astype(np.float32)) == pytest.approx(width * height, rel=0.03)


@pytest.mark.parametrize(("task", "file"), YAMLS.items())
def test_ultralytics_draws_a_set_on_first_use_and_takes_every_label(task: str, file: str) -> None:
    data = check_det_dataset(file)
    assert Path(data["path"]) == SETTINGS / "datasets" / f"yolo-focal-{Path(file).stem}"
    assert digest(data["path"]) == DIGESTS[task]
    dataset = YOLODataset(data["val"], data=data, task=task, imgsz=scenes.SIZE, augment=False, batch_size=1)
    assert len(dataset.labels) == shapes.COUNTS["val"]
    for i, label in enumerate(dataset.labels):
        expected = scenes.scene("val", i)[1]
        assert [int(c) for c in label["cls"].flat] == [shape.cls for shape in expected]
        assert len(label["segments"]) == (len(expected) if task in {"segment", "obb"} else 0)
        assert (label["keypoints"] is not None) == (task == "pose")


@pytest.mark.parametrize(("task", "file"), YAMLS.items())
def test_the_yaml_says_what_is_drawn(task: str, file: str) -> None:
    text = (REPO / "cfg" / file).read_text()
    train, val = shapes.COUNTS.values()
    assert f"{train} training and {val} validation images of {scenes.SIZE}x{scenes.SIZE} pixels" in text
    model = file.replace("shapes", "yolov8n-focal")
    assert f"yolo train model={model} data={file} imgsz={scenes.SIZE}\n" in text
    data = YAML.load(REPO / "cfg" / file)
    assert tuple(data["names"].values()) == scenes.NAMES
    if task == "pose":
        assert data["kpt_shape"] == [len(scenes.KEYPOINTS), 2]
        mirrored = [{"left": "right", "right": "left"}.get(name, name) for name in scenes.KEYPOINTS]
        assert [scenes.KEYPOINTS[i] for i in data["flip_idx"]] == mirrored


@pytest.mark.slow
def test_the_command_draws_a_classification_folder(tmp_path: Path) -> None:
    out = run(COMMAND, "shapes-cls", cwd=tmp_path).stdout
    assert out.splitlines()[-1] == "yolo train model=yolov8n-focal-cls.yaml data=shapes-cls imgsz=128"
    folder = tmp_path / "shapes-cls"
    assert digest(folder) == DIGESTS["classify"]
    for split, count in shapes.COUNTS.items():
        assert {d.name for d in (folder / split).iterdir()} == set(scenes.NAMES)
        assert len(list((folder / split).rglob("*.bmp"))) == count


def test_there_is_no_other_task(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        shapes.draw(tmp_path / "set", "detection")
    assert str(caught.value) == (
        "task=detection: there is no such task; write one of detect, segment, pose, obb, classify"
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_interrupted_it_leaves_nothing_and_draws_again(tmp_path: Path) -> None:
    # Below a shell's background job SIGINT is ignored.
    code = f"""import signal; signal.signal(signal.SIGINT, signal.default_int_handler)
from yolo_focal.shapes import draw; draw({str(tmp_path / "set")!r})"""
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
    assert digest(tmp_path / "set") == DIGESTS["detect"]


def test_files_that_went_missing_are_drawn_again(drawn: Path, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    run("cp", "-r", drawn, folder, cwd=tmp_path)
    run("rm", "-r", folder / "images" / "val", cwd=tmp_path)
    shapes.draw(folder)
    assert digest(folder) == DIGESTS["detect"]


@pytest.mark.slow
def test_several_at_once_end_with_one_whole_set(tmp_path: Path) -> None:
    threads = [threading.Thread(target=shapes.draw, args=(tmp_path / "set",)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert digest(tmp_path / "set") == DIGESTS["detect"]
    assert [p.name for p in tmp_path.iterdir()] == ["set"]


def test_a_folder_of_the_users_own_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"mine")
    with pytest.raises(ConfigError) as caught:
        shapes.draw(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path}: this folder holds something else than the shapes data set, and it would be lost: "
        "move it away, or write another `path:` into a copy of the data YAML"
    )
    assert [p.name for p in tmp_path.iterdir()] == ["photo.jpg"]
