"""What a user reads of a twin: how accurate it is, or how often it agrees with the original."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Callable

import cv2
import few
import numpy as np
import pytest
import torch
import ultralytics
import yaml
from ultralytics.utils import LOGGER

from yolo_focal.hook import configs
from yolo_focal.twin.evaluation import Evaluation


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What Ultralytics' logger is told."""
    logged: list[str] = []
    for method in ("info", "warning"):
        monkeypatch.setattr(LOGGER, method, lambda line, *_: logged.append(str(line)))
    return logged


def a_few(folder: Path, task: str = "detect", suffix: str = "", count: int = 40, **changes: Any) -> Path:
    """Draw some validation images of the shapes, with other entries in the data YAML, which is returned."""
    few.draw(folder, task, val=count)
    packaged = (configs.folder() / f"shapes{suffix}.yaml").read_text(encoding="utf-8")
    content = {**yaml.safe_load(packaged), "path": str(folder), "train": "images/val", **changes}
    (folder / "data.yaml").write_text(yaml.safe_dump(content))
    return folder / "data.yaml"


def contents(folder: Path) -> dict[Path, bytes]:
    return {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}


OTHERS = {0: "a", 1: "b", 2: "c", 3: "d"}
DIFFERENT = (
    "data={}: its classes are not those of best.pt, so the twin is compared with what the original predicts on the {} "
    "validation images, and not with their labels"
)
AGREEMENT = (
    r"mAP50-95\({}\) of the twin, with the original's (\d+) detections of confidence 0.25 or more as labels: (\S+), "
    r"and (\S+) of the original itself \((\S+)%\)"
)


def test_other_classes_are_evaluated_by_the_originals_detections(
    checkpoint: Path, tmp_path: Path, lines: list[str]
) -> None:
    data = a_few(tmp_path / "set", names=OTHERS)
    (tmp_path / "set" / "images" / "val" / "cut.jpg").write_bytes(b"\xff\xd8\xff")
    before = contents(tmp_path / "set")
    evaluation = Evaluation(ultralytics.YOLO(checkpoint), str(checkpoint), str(data), tmp_path / "work")
    assert DIFFERENT.format(data, 40).replace("best.pt", str(checkpoint)) in lines
    (line,) = evaluation.report(checkpoint)
    count, after, own, share = map(float, re.fullmatch(AGREEMENT.format("B"), line).groups())
    assert (after, share) == (own, 100)
    assert 20 < count < 120 and own > 0.8  # of 40 images with up to three shapes each
    assert contents(tmp_path / "set") == before
    worse = ultralytics.YOLO(checkpoint)
    torch.nn.init.zeros_(worse.model.model[0].conv.weight)
    worse.save(tmp_path / "worse.pt")
    (line,) = evaluation.report(tmp_path / "worse.pt")
    assert float(re.fullmatch(AGREEMENT.format("B"), line).group(2)) < own


def test_the_same_classes_are_evaluated_by_their_labels(checkpoint: Path, tmp_path: Path, lines: list[str]) -> None:
    data = a_few(tmp_path / "set")
    evaluation = Evaluation(ultralytics.YOLO(checkpoint), str(checkpoint), str(data), tmp_path / "work")
    (line,) = evaluation.report(checkpoint)
    before, after = map(float, re.fullmatch(r"mAP50-95\(B\): (\S+) before, (\S+) after \(100\.0%\)", line).groups())
    assert before == after > 0.1
    assert not any("its classes are not" in logged for logged in lines)


def untrained(name: str, folder: Path) -> Path:
    file = folder / f"{name}.pt"
    ultralytics.YOLO(f"{name}.yaml", verbose=False).save(file)
    return file


def test_where_nothing_is_detected_that_is_said(tmp_path: Path) -> None:
    data, file = a_few(tmp_path / "set", count=2, names=OTHERS), untrained("yolov8n", tmp_path)
    evaluation = Evaluation(ultralytics.YOLO(file), str(file), str(data), tmp_path / "work")
    assert evaluation.report(file) == ["the original detects nothing with a confidence of 0.25 on these images"]


def test_classifiers_of_other_classes_are_evaluated_by_the_originals_class(tmp_path: Path) -> None:
    for index in range(8):
        file = tmp_path / "set" / ("train", "val")[index % 2] / "ab"[index // 4] / f"{index}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(file), np.random.RandomState(index).randint(0, 255, (64, 64, 3), np.uint8))
    original, other = untrained("yolov8n-cls", tmp_path), untrained("yolo11n-cls", tmp_path)
    evaluation = Evaluation(ultralytics.YOLO(original), str(original), str(tmp_path / "set"), tmp_path / "work")
    assert evaluation.report(original) == ["the twin predicts the original's class on 100.0% of the images"]
    assert evaluation.report(other) != evaluation.report(original)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "suffix", "metrics"), [("segment", "seg", "BM"), ("pose", "pose", "BP"), ("obb", "obb", "B")]
)
def test_every_task_agrees_with_itself(
    task: str, suffix: str, metrics: str, of_task: Callable[[str], Path], tmp_path: Path
) -> None:
    best = of_task(task)
    data = a_few(tmp_path / "set", task, f"-{suffix}", names=OTHERS)
    evaluation = Evaluation(ultralytics.YOLO(best), str(best), str(data), tmp_path / "work")
    for metric, line in zip(metrics, evaluation.report(best)):
        count, after, own, share = map(float, re.fullmatch(AGREEMENT.format(metric), line).groups())
        assert (after, share) == (own, 100)
        assert count > 20
        # A mask of 32x32 pixels, for 128x128 of the image, makes a coarse polygon, and its box is that of the label.
        assert own > (0.4 if task == "segment" else 0.8)
