"""Tests of a plan run in folders of their own; Ultralytics is imported when the tests' settings are there."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint that is not trained."""
    from ultralytics import YOLO

    file = tmp_path_factory.mktemp("weights") / "own.pt"
    YOLO("yolov8n.yaml").save(file)
    return file


@pytest.fixture
def small_set() -> str:
    """A few images of the shapes, described by `my.yaml`."""
    import few

    few.draw(Path("set"), train=6, val=6)
    Path("my.yaml").write_text(few.yaml_of(Path("set")))
    return "my.yaml"
