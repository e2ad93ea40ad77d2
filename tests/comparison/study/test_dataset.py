"""The data of a comparison: read as Ultralytics reads them, and told by their contents."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from pathlib import Path

import pytest

from yolo_focal import ConfigError
from yolo_focal.comparison.study import dataset
from yolo_focal.shapes import draw


def contents(data: str, task: str = "detect") -> str:
    return dataset.digest(dataset.read(data, task))


def test_data_are_told_by_names_sizes_and_labels_and_not_by_their_path(small_set: str) -> None:
    before = contents(small_set)
    shutil.copytree("set", "moved")
    Path("other.yaml").write_text(Path(small_set).read_text().replace(str(Path("set").absolute()), "moved"))
    assert contents("other.yaml") == before
    for change in (
        lambda: Path("set/labels/val/0001.txt").write_text("0 0.5 0.5 0.1 0.1\n"),
        lambda: Path("set/labels/val/0001.txt").unlink(),
        lambda: Path("set/images/train/0002.bmp").write_bytes(Path("set/images/train/0003.bmp").read_bytes() + b"0"),
        lambda: Path("set/images/train/0002.bmp").rename("set/images/train/0002b.bmp"),
        lambda: Path("set/images/train/0005.bmp").unlink(),
        lambda: Path(small_set).write_text(Path(small_set).read_text().replace("star", "sun")),
    ):
        change()
        now = contents(small_set)
        assert now != before
        before = now


def test_no_image_is_read_and_each_label_file_once(small_set: str) -> None:
    """An image of a tebibyte, none of it on the disk, takes no time; what labels say is known without their files."""
    os.truncate("set/images/train/0001.bmp", 1 << 40)
    found = dataset.read(small_set, "detect")
    train, digest = found.splits["train"], dataset.digest(found)
    assert digest == contents(small_set)
    rows = [Path(f"set/labels/train/000{index}.txt").read_text().splitlines() for index in range(len(train.images))]
    shutil.rmtree("set/labels")
    assert dataset.digest(found) == digest
    assert dataset.first_images(train, 2).boxes == Counter(int(row.split()[0]) for row in rows[0] + rows[1])
    assert train.boxes == Counter(int(row.split()[0]) for of_image in rows for row in of_image)


@pytest.mark.usefixtures("small_set")
def test_lists_are_read_as_ultralytics_reads_them() -> None:
    """With a byte-order mark, relative to the list or to the current folder, and with an image that is missing."""
    images = sorted(str(path) for path in Path("set/images/train").iterdir())
    Path("train.txt").write_text("\ufeff" + "\n".join([*images, "./set/images/train/missing.bmp"]) + "\n", "utf-8")
    both = Path("train.txt").absolute()
    Path("lists.yaml").write_text(f"train: {both}\nval: {both}\nnames: [a, b, c, d]\n")
    found = dataset.read("lists.yaml", "detect")
    names = {Path(image).name for image in found.splits["train"].images}
    assert names == {*(Path(image).name for image in images), "missing.bmp"}
    assert contents("lists.yaml")
    assert sum(found.splits["train"].boxes.values()) > 6


def test_a_classification_set_without_val_is_validated_on_test() -> None:
    draw("cls", "classify")
    Path("cls/val").rename("cls/test")
    found = dataset.read("cls", "classify")
    assert (len(found.splits["val"].images), "test" in found.splits) == (120, False)
    shutil.rmtree("cls/test")
    with pytest.raises(ConfigError) as caught:
        dataset.read("cls", "classify")
    assert str(caught.value) == "data=cls: it has no val images; write data= with a set that has train and val"
