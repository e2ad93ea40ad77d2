"""A few of the shapes, and a checkpoint that finds some of them: what is trained from it has scores above zero."""

from __future__ import annotations

import shutil
from pathlib import Path

from support import SETTINGS

from yolo_focal.shapes.dataset import TASKS

FOLDER = SETTINGS / "few"
DATA, START = FOLDER / "few.yaml", FOLDER / "start.pt"
COUNTS = {"train": 40, "val": 24}


def draw(folder: Path, task: str = "detect", **counts: int) -> None:
    """Draw the first images of each split, with their labels."""
    for split, count in counts.items():
        for index in range(count):
            TASKS[task](folder, split, index)


def write(checkpoint: Path) -> None:
    """Write images, labels, data YAML and checkpoint, where they are not there yet."""
    if not START.exists():
        draw(FOLDER / "set", **COUNTS)
        DATA.write_text(yaml_of(FOLDER / "set"))
        shutil.copy(checkpoint, START)


def yaml_of(folder: Path, more: str = "") -> str:
    """Return a data YAML for a folder of these images."""
    names = "names: [circle, square, triangle, star]\n"
    return f"path: {folder.absolute()}\ntrain: images/train\nval: images/val\n{more}{names}"
