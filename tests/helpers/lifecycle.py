"""The life of a module in a model of the user's own: trained, resumed, loaded under restriction, exported, compared."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml
from support import YOLO, python, run

SMALL = ("data=shapes.yaml", "imgsz=64", "batch=8", "fraction=0.1", "workers=0", "plots=False")
WEIGHTS = "runs/detect/train/weights"
COMPARE = f"""
import numpy as np, onnxruntime, torch
from ultralytics import YOLO
x = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
with torch.no_grad():
    expected = YOLO("{WEIGHTS}/last.pt").model.float().eval()(x)[0].numpy()
session = onnxruntime.InferenceSession("{WEIGHTS}/last.onnx")
output = session.run(None, {{"images": x.numpy()}})[0]
print(f"difference {{np.abs(output - expected).max():.1e}}")
"""


def write_detector(folder: Path, *rows: list[Any]) -> None:
    """Write `own.yaml`, a small detector with these rows, the first of which reads 64 channels."""
    convs = [[-1, 1, "Conv", [channels, 3, 2]] for channels in (64, 128, 256)]
    backbone = [*convs, *rows, [-1, 1, "Conv", [512, 3, 2]]]
    head = [[[len(backbone) - 2, len(backbone) - 1], 1, "Detect", ["nc"]]]
    model = {"nc": 4, "scales": {"n": [0.33, 0.25, 1024]}, "backbone": backbone, "head": head}
    (folder / "own.yaml").write_text(yaml.safe_dump(model))


def live(folder: Path, *shown: str, **env: str) -> None:
    """Take `own.yaml` through the stock command, each step in a process of its own.

    Args:
        folder: Where `own.yaml` is.
        shown: The classes as the model's table shows them.
        env: Environment variables of every process.
    """
    out = run(YOLO, "train", "model=own.yaml", *SMALL, "epochs=2", "save_period=1", cwd=folder, **env).stdout
    assert all(f"{name} " in out for name in shown)
    out = run(YOLO, "train", "resume=True", f"model={WEIGHTS}/epoch0.pt", cwd=folder, **env).stdout
    assert "from epoch 2 to 2 total epochs" in out
    restricted = {**env, "ULTRALYTICS_SAFE_LOAD": "1"}
    out = run(YOLO, "val", f"model={WEIGHTS}/last.pt", *SMALL[:2], "workers=0", cwd=folder, **restricted).stdout
    assert re.search(r"all\s+120 ", out)
    out = run(YOLO, "export", f"model={WEIGHTS}/last.pt", "format=onnx", "imgsz=64", cwd=folder, **env).stdout
    assert "export success" in out
    difference = float(python(COMPARE, folder, **env).splitlines()[-1].split()[1])
    assert difference < 0.01  # of box corners up to 64 pixels
