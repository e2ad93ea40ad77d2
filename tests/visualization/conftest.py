"""A photo to draw on, a folder to draw in, and the figures that were drawn."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from matplotlib.figure import Figure


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `runs` be below the test's own folder."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """An image twice as wide as high."""
    file = tmp_path / "photo.png"
    cv2.imwrite(str(file), np.random.RandomState(0).randint(0, 256, (60, 120, 3), np.uint8))
    return file


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that were written, in their order."""
    written: list[Figure] = []
    save = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda self, *a, **k: (written.append(self), save(self, *a, **k)))
    return written
