"""Whole comparisons run in folders of their own; Ultralytics is imported when the tests' settings are there."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def few_images(checkpoint: Path) -> None:
    """A few of the shapes, and a checkpoint that finds some of them."""
    import few

    few.write(checkpoint)
