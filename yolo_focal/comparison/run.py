"""Trains one model with one seed, in a process of its own: `python -m yolo_focal.comparison.run FOLDER`.

The folder holds `task.json`, which says what to train. It gets a folder of the training, what the last validations have
found on each image, and in the end `result.json`. The process ends when its standard input does: whoever started it is
gone then.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ultralytics import YOLO
from ultralytics.utils import LOGGER

from yolo_focal.comparison import recording, sizes
from yolo_focal.comparison.curve import read_curve
from yolo_focal.comparison.files import write_json
from yolo_focal.comparison.lock import locked
from yolo_focal.comparison.measuring import Measured, environment
from yolo_focal.comparison.precision import Scorer
from yolo_focal.comparison.snapshot import Snapshots
from yolo_focal.comparison.task import (
    BEST,
    RESULT,
    SCHEMA,
    SNAPSHOTS,
    TASK,
    TEST,
    TIMES,
    Task,
    read_task,
    result_of,
    training_folder,
    validation_files,
)
from yolo_focal.errors import ConfigError
from yolo_focal.files import sync_folder
from yolo_focal.hook import parser


def main(folder: Path) -> None:
    """Train, or go on with a training that was interrupted, and write the result."""
    with locked(folder, wait=60):  # a run whose parent was killed needs a moment to notice it
        task = read_task(folder)
        if task is None:
            raise ConfigError(f"{folder / TASK}: it is not what this release of compare writes")
        if result_of(folder, task.identity) is None:
            _run(folder, task)


def _run(folder: Path, task: Task) -> None:
    training = training_folder(folder)
    snapshots = Snapshots(folder / SNAPSHOTS, task.seed, task.snapshot_every)
    if snapshots.latest() is None:
        for remains in (training, folder / "validations", folder / TIMES):
            shutil.rmtree(remains) if remains.is_dir() else remains.unlink(missing_ok=True)
    if torch.cuda.is_available():
        torch.cuda.current_device()  # from now on CUDA_VISIBLE_DEVICES is not read again, which old releases change
    parser.seed_layers(task.seed)
    model = YOLO(task.model)
    model.add_callback("on_train_start", lambda _: torch.set_num_threads(task.threads))  # Ultralytics sets its own
    if task.snapshot_every:
        snapshots.attach(model)
    measured = Measured(folder / TIMES)
    measured.attach(model)

    def keep(validation: recording.Validation, validator: Any) -> None:
        if not validator.training:
            recording.save(validation, folder / BEST)
            return
        recording.save(validation, folder / "validations" / f"epoch-{model.trainer.epoch}.npz")
        for file in validation_files(folder)[: -task.last_epochs]:
            file.unlink()

    recording.Recorder(keep).attach(model)
    transferred = _Transferred()
    LOGGER.addHandler(transferred)
    own = {"project": str(folder.absolute()), "name": training.name, "exist_ok": True}
    metrics = model.train(data=task.data, seed=task.seed, **own, **task.arguments)
    LOGGER.removeHandler(transferred)
    curve = read_curve(training / "results.csv", task.metric)
    result = {
        "schema": SCHEMA,
        "identity": task.identity,
        **_found(metrics),
        "sizes": _by_size(model.task, *validation_files(folder)[-1:]),
        "scores": _scores(folder, model.task, task.metric, metrics, curve.values),
        "curve": curve.values,
        "nan_epoch": curve.nan_epoch,
        **measured.totals(),
        "work": {**_work(model.trainer), "transferred": transferred.counts, "order": measured.order()},
        "environment": environment(model.trainer.device),
    }
    if task.test:
        found = _found(_validate_on_test(folder, training, task))
        result["test"] = {**found, "sizes": _by_size(model.task, folder / TEST)}
        result["scores"]["test"] = result["test"]["metrics"].get(task.metric)
    sync_folder(training / "weights")
    write_json(folder / RESULT, result)
    snapshots.remove()


def _validate_on_test(folder: Path, training: Path, task: Task) -> Any:
    """Validate the best checkpoint on the test images."""
    best = YOLO(str(training / "weights" / "best.pt"))
    recording.Recorder(lambda validation, _: recording.save(validation, folder / TEST)).attach(best)
    arguments = {key: task.arguments[key] for key in ("imgsz", "batch", "device", "workers")}
    own = {"project": str(folder.absolute()), "name": f"{training.name}-test", "exist_ok": True, "plots": False}
    return best.val(data=task.data, split="test", **arguments, **own)


def _found(metrics: Any) -> dict[str, Any]:
    """Return the metrics of a validation, those of each class that has labels, and the names of all classes."""
    of_task = next((getattr(metrics, name) for name in ("seg", "pose", "box") if hasattr(metrics, name)), None)
    classes = {}
    if of_task is not None:
        classes = {metrics.names[int(index)]: float(ap) for index, ap in zip(of_task.ap_class_index, of_task.ap)}
    return {
        "metrics": {name: float(value) for name, value in metrics.results_dict.items()},
        "classes": classes,
        "names": list(metrics.names.values()) if isinstance(getattr(metrics, "names", None), dict) else [],
    }


def _by_size(task: str, *files: Path) -> dict[str, float]:
    """Return the AP of small, medium and large objects of a recorded validation; {} where boxes are not upright."""
    validations = recording.load_all(files)
    return sizes.average_precisions(validations[0]) if validations and task in sizes.TASKS else {}


def _scores(folder: Path, task: str, metric: str, metrics: Any, curve: list[float]) -> dict[str, Any]:
    """Return what a run may be compared by: its best epoch's score, its last one's, and the last ones' mean."""
    exact = [Scorer(validation, task).score() for validation in recording.load_all(validation_files(folder))]
    last = exact or curve[-len(validation_files(folder)) or -1 :]  # a release whose statistics cannot be recorded
    return {
        "best": float(metrics.results_dict[metric]),
        "last": last[-1] if last else None,
        "mean_of_last": float(np.mean(last)) if last else None,
        "last_epochs": len(last),
    }


def _work(trainer: Any) -> dict[str, Any]:
    """Return what the trainer has really done, which need not be what it was told."""
    return {
        "batch": int(trainer.batch_size),
        "imgsz": int(np.max(trainer.args.imgsz)),
        "epochs": int(trainer.epoch) + 1,
        "images": len(trainer.train_loader.dataset),
    }


class _Transferred(logging.Handler):
    """Reads how many tensors the model has taken over from its log line "Transferred 343/351 items"."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: list[int] | None = None

    def emit(self, record: logging.LogRecord) -> None:
        line = re.search(r"Transferred (\d+)/(\d+) items", record.getMessage())
        if line:
            self.counts = [int(line[1]), int(line[2])]


def _end_with_the_parent() -> None:
    """End at once when standard input does, which is a pipe that the parent holds open."""
    os.read(0, 1)
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    main(Path(sys.argv[1]))
