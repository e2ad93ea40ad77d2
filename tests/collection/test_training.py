"""The collection through the stock command: its whole life, and training at ten times the usual learning rate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from lifecycle import live, write_detector
from stability import CHECK
from support import python

ROWS: dict[str, list[Any]] = {
    "EMA": [-1, 1, "EMA", []],
    "MSDA": [-1, 1, "MSDA", [{"dilations": [1, 2]}]],
    "CAFM": [-1, 2, "CAFM", []],
    "MSFN": [-1, 1, "MSFN", [1.5]],
    "ODConv": [-1, 1, "ODConv", [256, 3]],
    "DynamicConv": [-1, 1, "DynamicConv", [256, 3]],
    "C2fDynamic": [-1, 6, "C2fDynamic", [256, True]],
    "DySnakeConv": [-1, 1, "DySnakeConv", [256, 5]],
    "C2fSnake": [-1, 3, "C2fSnake", [256, True]],
}


@pytest.mark.slow
def test_they_live_through_the_stock_command(tmp_path: Path) -> None:
    write_detector(tmp_path, *ROWS.values())
    live(tmp_path, *(f"yolo_focal.collection.{name}" for name in ROWS))


TRAIN = """
from ultralytics import YOLO

model = YOLO("own.yaml")
model.add_callback("on_train_batch_end", check)
model.train(
    data="shapes.yaml", epochs=5, batch=8, imgsz=64, optimizer="SGD", lr0=0.1, warmup_epochs=0, val=False,
    workers=0, plots=False, verbose=False,
)
print("steps:", steps)
"""


@pytest.mark.slow
def test_nothing_becomes_infinite_at_ten_times_the_learning_rate(tmp_path: Path) -> None:
    write_detector(tmp_path, *ROWS.values())  # a message names the tensor, and so the module
    assert "steps: 300" in python(CHECK + TRAIN, tmp_path)
