"""Words of `yolo-focal compare` for short trainings, and the table that it writes."""

from __future__ import annotations

from pathlib import Path

import few
import polars as pl

PAIR = "models=yolov8n.yaml,yolov8n-focal.yaml"
# Of a few images, from a checkpoint: scores that are not zero after short trainings, and differ from seed to seed.
LEARNT = ("imgsz=64", "batch=8", "plots=False", "epochs=3", "warmup_epochs=1", f"pretrained={few.START}")


def steady(name: str = "compare", folder: Path = Path()) -> pl.DataFrame:
    """Return the table without what differs from time to time."""
    frame = pl.read_csv(folder / "runs/compare" / name / "results.csv")
    return frame.drop("seconds", "cpu_seconds", "peak_memory_mib")
