"""Training at ten times Ultralytics' default learning rate: the module's output grows with the cube of its input."""

from __future__ import annotations

from pathlib import Path

import pytest
from stability import CHECK
from support import python

TRAIN = """
from ultralytics import YOLO

def autocast(trainer):
    # Ultralytics itself switches it on for CUDA only. On the CPU its type is bfloat16.
    trainer.amp = AUTOCAST


def note_type(layer, inputs, output):
    types.add(output.dtype)


types = set()
model = YOLO("yolov8n-focal.yaml")
model.add_callback("on_train_start", autocast)
model.add_callback("on_train_start", lambda trainer: trainer.model.model[9].register_forward_hook(note_type))
model.add_callback("on_train_batch_end", check)
model.train(
    data="shapes.yaml", epochs=5, batch=8, imgsz=128, optimizer="SGD", lr0=0.1, warmup_epochs=0,
    workers=0, plots=False, verbose=False,
)
print("steps:", steps, *types)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("autocast", "dtype"), [(False, "torch.float32"), (True, "torch.bfloat16")])
def test_nothing_becomes_infinite_at_ten_times_the_learning_rate(autocast: bool, dtype: str, tmp_path: Path) -> None:
    assert f"steps: 300 {dtype}" in python(f"AUTOCAST = {autocast}\n{CHECK}{TRAIN}", tmp_path)
