"""`yolo-focal compare` on a real data set: a call works on it until the time is over, the next one goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from results import Job, Options, Row, Unfinished

MODELS = ("yolov8n.yaml", "yolov8n-focal.yaml", "yolov8n-focalnet.yaml", "yolov8n-c2focal.yaml")
COMMAND = (sys.executable, "-c", "from yolo_focal.cli import main; main()", "compare")


def jobs(options: Options) -> Iterator[tuple[str, Job]]:
    """Yield the comparison."""
    yield f"compare data={options.data}", partial(compare, options)


def compare(options: Options) -> list[Row]:
    """Go on with the comparison for the time of a part; return its models and their scores, once it is complete.

    Raises:
        Unfinished: The time is over.
    """
    if options.small:
        given = ("seeds=1", "imgsz=64", "epochs=1", "batch=8", "fraction=0.1", "plots=False", "warmup_epochs=0")
        models = MODELS[:2]
    else:
        given, models = ("seeds=5", "imgsz=640", "epochs=100"), MODELS
    arguments = (
        f"data={options.data}",
        f"models={','.join(models)}",
        "name=gpu",
        f"device={options.ultralytics_device}",
    )
    began = time.monotonic()
    # A process group of its own, so that the runs' processes stop with it.
    process = subprocess.Popen([*COMMAND, *arguments, *given], cwd=options.out, start_new_session=True)
    try:
        process.wait(60 * options.minutes)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C: the runs go on from their last epoch
        process.wait()
        log = f"stopped after {(time.monotonic() - began) / 60:.0f} minutes"
        raise Unfinished([{"comparison": options.data, "state": log}]) from None
    if process.returncode:
        raise RuntimeError(f"yolo-focal compare ended with exit status {process.returncode}")
    summary = json.loads((Path(options.out) / "runs" / "compare" / "gpu" / "summary.json").read_text(encoding="utf-8"))
    rows: list[Row] = []
    for difference in summary["differences"]:
        names = {"first": difference["first"], "other": difference["other"]}
        rows.append({**names, **flat(difference["over_seeds"])})
    return rows


def flat(difference: dict[str, object]) -> Row:
    """Return what of a difference fits a table's cell."""
    return {key: value for key, value in difference.items() if not isinstance(value, dict)}
