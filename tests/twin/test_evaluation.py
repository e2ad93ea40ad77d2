"""What a user reads of a twin's accuracy, or why it is not measured."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import few
import pytest
import ultralytics
import yaml
from ultralytics.utils import LOGGER

from yolo_focal.hook import configs
from yolo_focal.twin import checkpoint as derived
from yolo_focal.twin.evaluation import difference


def a_few(folder: Path, suffix: str = "", **changes: Any) -> str:
    """Draw some validation images of the shapes, with other entries in the data YAML, which is returned."""
    few.draw(folder, val=40)
    packaged = (configs.folder() / f"shapes{suffix}.yaml").read_text(encoding="utf-8")
    content = {**yaml.safe_load(packaged), "path": str(folder), "train": "images/val", **changes}
    (folder / "data.yaml").write_text(yaml.safe_dump(content))
    return str(folder / "data.yaml")


def derive(model: Path, save: Path, data: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Insert C2Focal behind a checkpoint's FocalModulation, and return what Ultralytics' logger is told at the end."""
    lines: list[str] = []
    monkeypatch.setattr(LOGGER, "info", lambda line, *_: lines.append(str(line)))
    derived.derive_checkpoint(str(model), save, data=data, after="FocalModulation", module="C2Focal")
    return lines


def test_a_twin_is_validated_by_the_labels_of_the_same_classes(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, save = a_few(tmp_path / "set"), tmp_path / "twin.pt"
    before = {file for file in tmp_path.rglob("*") if file.is_file()}
    *lines, scores, command = derive(checkpoint, save, data, monkeypatch)
    score, after = map(float, re.fullmatch(r"mAP50-95\(B\): (\S+) before, (\S+) after \(100\.0%\)", scores).groups())
    assert score == after > 0.1
    assert command == f"yolo train model={save} data={data}"
    assert not any("neither" in line for line in lines)
    assert {file.name for file in tmp_path.rglob("*") if file.is_file() and file not in before} <= {
        "twin.pt",
        "val.cache",
    }


def test_of_other_classes_it_is_said_that_nothing_is_validated(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, save = a_few(tmp_path / "set", names={0: "a", 1: "b", 2: "c", 3: "d"}), tmp_path / "twin.pt"
    lines = derive(checkpoint, save, data, monkeypatch)
    assert lines[-3:] == [
        f"data={data}: its classes are not those of {checkpoint}, so neither that nor its twin is validated",
        f"{save}: written",
        f"yolo train model={save} data={data}",
    ]


@pytest.mark.parametrize(("keypoints", "expected"), [([5, 2], ""), ([5, 3], "keypoints"), ([3, 2], "keypoints")])
def test_keypoints_are_told_apart_from_classes(keypoints: list[int], expected: str, tmp_path: Path) -> None:
    data = a_few(tmp_path / "set", "-pose", kpt_shape=keypoints)
    model = ultralytics.YOLO("yolov8n-pose.yaml").model
    names = yaml.safe_load(Path(data).read_text())["names"]
    model.names, model.yaml["kpt_shape"] = names, [5, 2]
    yolo = ultralytics.YOLO("yolov8n-pose.yaml")
    yolo.model = model
    assert difference(yolo, data) == expected
    model.names = {0: "person"}
    assert difference(yolo, data) == "classes"
