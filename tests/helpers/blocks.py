"""A user's own module, the model that it stands in, and what is said where it cannot be loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

MODULES = "YOLO_FOCAL_MODULES"
BLOCKS = """
import yolo_focal
from torch import nn

@yolo_focal.register
class Twice(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.conv = nn.Conv2d(dim, dim, 1)

    def forward(self, x):
        return 2 * self.conv(x)
"""
SEES = "from ultralytics import YOLO; print(type(YOLO('tiny.yaml').model.model[2]).__name__)"


def write(folder: Path, row: list[Any], **top: Any) -> Path:
    """Write a model whose row 2 is `row`, behind rows of 16 and 24 channels, and whose row 3 reads it."""
    file = folder / "tiny.yaml"
    rows = [[-1, 1, "Conv", [16, 3, 2]], [-1, 1, "Conv", [24, 3, 1]], row, [-1, 1, "Conv", [8]]]
    head = [[-1, 1, "Classify", ["nc"]]]
    file.write_text(yaml.safe_dump({"nc": 3, **top, "backbone": rows, "head": head}))
    return file


def warnings_of(output: str) -> list[str]:
    """Return what a process says of files of modules that it could not load."""
    return [line for line in output.splitlines() if line.startswith("yolo-focal: ")]
