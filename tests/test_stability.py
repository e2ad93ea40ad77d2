"""Training at ten times Ultralytics' default learning rate: the module's output grows with the cube of its input."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import python

TRAIN = """
from ultralytics import YOLO

steps = 0


def check(trainer):
    global steps
    steps += 1
    assert trainer.loss.isfinite().all(), f"loss at step {steps}"
    for what, model in (("weights", trainer.model), ("EMA", trainer.ema.ema)):
        for name, tensor in model.state_dict().items():
            assert tensor.isfinite().all(), f"{what} at step {steps}: {name}"


model = YOLO("yolov8n-focal.yaml")
model.add_callback("on_train_batch_end", check)
model.train(
    data="shapes.yaml", epochs=5, batch=8, imgsz=128, optimizer="SGD", lr0=0.1, warmup_epochs=0, amp=AMP,
    workers=0, plots=False, verbose=False,
)
print("steps:", steps)
"""


@pytest.mark.slow
@pytest.mark.parametrize("amp", ["False", "'bf16'"])
def test_nothing_becomes_infinite_at_ten_times_the_learning_rate(amp: str, tmp_path: Path) -> None:
    assert "steps: 300" in python(f"AMP = {amp}\n{TRAIN}", tmp_path)
