"""Trains one model with one seed, in a process of its own: `python -m yolo_focal.comparison.run FOLDER`.

The folder holds `task.json`, which says what to train. It gets Ultralytics' folder of the training, `train`, and in the
end `result.json`. The process ends when its standard input does: whoever started it is gone then.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

import torch
from ultralytics import YOLO

from yolo_focal.comparison.files import write_json
from yolo_focal.comparison.snapshot import Snapshots

TASK, RESULT, LOG, TRAIN = "task.json", "result.json", "log.txt", "train"

# What the models of a task are compared by.
METRICS = {
    "detect": "metrics/mAP50-95(B)",
    "obb": "metrics/mAP50-95(B)",
    "segment": "metrics/mAP50-95(M)",
    "pose": "metrics/mAP50-95(P)",
    "classify": "metrics/accuracy_top1",
}


class Task(NamedTuple):
    """What to train.

    Attributes:
        model: A model YAML or a checkpoint.
        data: The data set.
        seed: Of the training.
        arguments: What else `yolo train` is given.
        loaders: Data loader workers.
        threads: CPU threads.
    """

    model: str
    data: str
    seed: int
    arguments: dict[str, Any]
    loaders: int
    threads: int


def main(folder: Path) -> None:
    """Train, or go on with a training that was killed, and write the result of its best epoch."""
    task = Task(**json.loads((folder / TASK).read_text(encoding="utf-8")))
    model = YOLO(task.model)
    model.add_callback("on_train_start", lambda _: torch.set_num_threads(task.threads))  # Ultralytics sets its own
    snapshots = Snapshots(folder / "snapshots", task.seed)
    snapshots.attach(model)
    own = {"project": str(folder.absolute()), "name": TRAIN, "exist_ok": True}
    start = time.monotonic()
    metrics = model.train(data=task.data, seed=task.seed, workers=task.loaders, **own, **task.arguments)
    seconds = time.monotonic() - start
    write_json(folder / RESULT, {**_result(metrics), "seconds": round(seconds, 1)})
    snapshots.remove()


def _result(metrics: Any) -> dict[str, Any]:
    """Return the numbers that Ultralytics' validation of the best checkpoint gave."""
    of_task = next((getattr(metrics, name) for name in ("seg", "pose", "box") if hasattr(metrics, name)), None)
    classes = {}
    if of_task is not None:  # only the classes that have labels among the validation images
        classes = {metrics.names[int(index)]: float(ap) for index, ap in zip(of_task.ap_class_index, of_task.ap)}
    return {
        "metrics": {name: float(value) for name, value in metrics.results_dict.items()},
        "classes": classes,
        "names": list(metrics.names.values()) if isinstance(getattr(metrics, "names", None), dict) else [],
    }


def _end_with_the_parent() -> None:
    """End at once when standard input does, which is a pipe that the parent holds open."""
    os.read(0, 1)
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    main(Path(sys.argv[1]))
