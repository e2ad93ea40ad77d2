"""Trains what a run's task says, in one process, or in several that share each batch, one for each GPU.

The other processes of several are started by `data_parallel`. The first of them writes what an only one would write:
the training's folder, what the last validations have found on each image, snapshots and times.
"""

from __future__ import annotations

import logging
import re
import shutil
from pathlib import Path
from typing import Any

import torch
from ultralytics import YOLO
from ultralytics.utils import LOCAL_RANK, LOGGER, RANK

from yolo_focal.comparison.stats import starts
from yolo_focal.comparison.store import validations
from yolo_focal.comparison.store.run_folder import BEST, SNAPSHOTS, TIMES, RunSpec, training_folder, validation_file
from yolo_focal.comparison.store.run_result import Trained, Work
from yolo_focal.comparison.worker import recorder
from yolo_focal.comparison.worker import ultralytics_trainer as ultralytics
from yolo_focal.comparison.worker.resume import Snapshots
from yolo_focal.comparison.worker.timing import Measured, environment
from yolo_focal.hook import alignment, layer_seed


def snapshots_of(folder: Path, task: RunSpec) -> Snapshots:
    """Return the snapshots of a run."""
    return Snapshots(folder / SNAPSHOTS, task.seed, task.snapshot_every)


def clear(folder: Path) -> None:
    """Remove what a training has left that there is no snapshot of."""
    for remains in (training_folder(folder), folder / "validations", folder / TIMES):
        shutil.rmtree(remains) if remains.is_dir() else remains.unlink(missing_ok=True)


def train(folder: Path, task: RunSpec) -> Trained | None:
    """Train, or go on with the last snapshot.

    Args:
        folder: The run's folder.
        task: What to train.

    Returns:
        What the training says of itself; None in all processes of several but the first.
    """
    if torch.cuda.is_available():
        torch.cuda.set_device(max(LOCAL_RANK, 0))
        torch.cuda.current_device()  # from now on CUDA_VISIBLE_DEVICES is not read again, which old releases change
    layer_seed.seed_layers(task.seed)
    alignment.look_in_every_model()
    model = YOLO(task.model)
    model.add_callback("on_train_start", lambda _: torch.set_num_threads(task.threads))  # Ultralytics sets its own
    snapshots = snapshots_of(folder, task)
    if task.snapshot_every:
        snapshots.attach(model)
    measured = Measured(folder / TIMES)
    measured.attach(model)

    def keep(validation: validations.Validation, validator: Any) -> None:
        if not ultralytics.is_training(validator):
            recorder.keep(validation, validator, folder / BEST)
            return
        recorded.unsupported = ultralytics.unsupported(model.trainer, ultralytics.EPOCH)
        if recorded.unsupported is None:
            epoch = ultralytics.epoch(model.trainer)
            recorder.keep(validation, validator, validation_file(folder, epoch))
            validation_file(folder, epoch - task.last_epochs).unlink(missing_ok=True)

    recorded = recorder.Recorder(keep)
    recorded.attach(model)
    origins: dict[str, list[int]] = {}

    def note_origins(trainer: Any) -> None:
        if ultralytics.unsupported(trainer, ("model",)) is None:
            origins.update(starts.of(ultralytics.network(trainer)))

    model.add_callback("on_train_start", note_origins)
    transferred = _Transferred()
    LOGGER.addHandler(transferred)
    own = {"project": str(folder.absolute()), "name": training_folder(folder).name, "exist_ok": True}
    metrics = model.train(data=task.data, seed=task.seed, **own, **task.arguments)
    LOGGER.removeHandler(transferred)
    if RANK > 0:
        return None
    lacking = {
        "snapshots": snapshots.unsupported,
        "records": recorded.unsupported,
        "work": measured.unsupported,
    }
    without = {part: name for part, name in lacking.items() if name is not None}
    for part, name in without.items():
        LOGGER.warning(f"Trained without {part}: this release of Ultralytics has no {name}")
    told = {"batch": task.arguments["batch"], "imgsz": task.arguments["imgsz"], "images": None}
    return Trained(
        task=model.task,
        **found(metrics),
        **measured.totals(),
        work=Work(
            **(told if measured.unsupported else ultralytics.work(model.trainer)),
            epochs=measured.epochs,
            transferred=transferred.counts,
            layers=origins,
            order=measured.order(),
        ),
        environment=environment(_told_device(task) if measured.unsupported else ultralytics.device(model.trainer)),
        without=without,
    )


def found(metrics: Any) -> dict[str, Any]:
    """Return the metrics of a validation, those of each class that has labels, and the names of all classes."""
    of_task = next((getattr(metrics, name) for name in ("seg", "pose", "box") if hasattr(metrics, name)), None)
    classes = {}
    if of_task is not None:
        classes = {
            metrics.names[int(index)]: float(ap) for index, ap in zip(of_task.ap_class_index, of_task.ap, strict=True)
        }
    return {
        "metrics": {name: float(value) for name, value in metrics.results_dict.items()},
        "classes": classes,
        "names": list(metrics.names.values()) if isinstance(getattr(metrics, "names", None), dict) else [],
    }


def _told_device(task: RunSpec) -> torch.device:
    on_gpu = torch.cuda.is_available() and task.arguments["device"] != "cpu"
    return torch.device("cuda" if on_gpu else "cpu")


class _Transferred(logging.Handler):
    """Reads how many tensors the model has taken over from its log line "Transferred 343/351 items"."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: list[int] | None = None

    def emit(self, record: logging.LogRecord) -> None:
        line = re.search(r"Transferred (\d+)/(\d+) items", record.getMessage())
        if line:
            self.counts = [int(line[1]), int(line[2])]
