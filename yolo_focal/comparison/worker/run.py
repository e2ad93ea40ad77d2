"""Executes a run in a process of its own: `python -m yolo_focal.comparison.worker.run FOLDER`.

The folder holds `task.json`, which says what to train. It gets a folder of the training, what the last validations have
found on each image, and in the end `result.json`. The process ends when its standard input does: whoever started it is
gone then.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ultralytics import YOLO

from yolo_focal.comparison.launch import devices
from yolo_focal.comparison.launch.process import end_with_the_parent
from yolo_focal.comparison.stats import ap_by_size
from yolo_focal.comparison.stats.average_precision import Scorer
from yolo_focal.comparison.store import validations
from yolo_focal.comparison.store.lock import locked
from yolo_focal.comparison.store.results_csv import read_curve
from yolo_focal.comparison.store.run_folder import (
    TASK,
    TEST,
    RunSpec,
    read_task,
    result_of,
    training_folder,
    validation_files,
    write_result,
)
from yolo_focal.comparison.store.run_result import Ablated, OnTestImages, RunResult, Trained
from yolo_focal.comparison.worker import ablation, ddp, recorder, train
from yolo_focal.comparison.worker import ultralytics_trainer as ultralytics
from yolo_focal.errors import ConfigError
from yolo_focal.files import sync_folder


def main(folder: Path) -> None:
    """Train, or go on with a training that was interrupted, and write the result."""
    with locked(folder, wait=60):  # a run whose parent was killed needs a moment to notice it
        task = read_task(folder)
        if task is None:
            raise ConfigError(f"{folder / TASK}: it is not what this release of compare writes")
        if result_of(folder, task.fingerprint) is None:
            _run(folder, task)


def _run(folder: Path, task: RunSpec) -> None:
    snapshots = train.snapshots_of(folder, task)
    if snapshots.latest() is None:
        train.clear(folder)
    gpus = len(devices.numbers(task.arguments["device"]))
    trained = train.train(folder, task) if gpus < 2 else ddp.train(folder, gpus)
    assert trained is not None  # as it is in the only process, or the first
    results = training_folder(folder)
    curve = read_curve(results / "results.csv", task.metric)
    last = _last_scores(folder, task, trained, curve.values)
    scores = {
        "best": trained.metrics[task.metric],
        "last": last[-1] if last else None,
        "mean_of_last": float(np.mean(last)) if last else None,
    }
    recorded, without, test = _is_recorded(folder, task, trained), trained.without, None
    if task.test:
        on_test = recorder.Recorder(lambda validation, validator: recorder.keep(validation, validator, folder / TEST))
        metrics = _validate(folder, task, "test", on_test.attach)
        test = OnTestImages(**train.found(metrics), sizes=_by_size(trained.task, folder / TEST))
        without = {**without, "records": on_test.unsupported} if on_test.unsupported else without
        scores["test"] = test.metrics.get(task.metric)
        recorded = bool(validations.load_all([folder / TEST]))
    sync_folder(results / "weights")
    result = RunResult(
        **{**vars(trained), "without": without},
        fingerprint=task.fingerprint,
        sizes=_by_size(trained.task, *validation_files(folder)[-1:]),
        scores=scores,
        last_epochs=len(last),
        recorded=recorded,
        curve=curve.values,
        nan_epoch=curve.nan_epoch,
        test=test,
        ablations=_ablated(folder, task, scores.get("test")),
    )
    write_result(folder, result)
    snapshots.remove()


def _ablated(folder: Path, task: RunSpec, score: float | None) -> list[Ablated]:
    """Validate the best checkpoint without the work of some layers, on the images that the verdict is about.

    Args:
        folder: The run's folder.
        task: What was trained.
        score: Its score on the test images. The trainer's own on the validation images has other batches, which pad
            the images otherwise, and on a GPU another precision: it is validated anew there.
    """
    split, found = ("test" if task.test else "val"), []
    for rows, by in task.ablations:
        score = _score(folder, task, split) if score is None else score
        try:
            without = _score(folder, task, split, rows, by)
        except ablation.CannotReplaceError:
            without = None
        found.append(Ablated(rows=rows, by=by, score=score, without=without))
    return found


def _score(folder: Path, task: RunSpec, split: str, rows: Sequence[int] = (), by: str = "") -> float:
    """Validate the best checkpoint, with the outputs of some layers replaced."""
    metrics = _validate(folder, task, split, lambda best: ablation.replace_outputs(ultralytics.layers(best, rows), by))
    return float(metrics.results_dict[task.metric])


def _validate(folder: Path, task: RunSpec, split: str, prepare: Callable[[YOLO], None]) -> Any:
    """Validate the best checkpoint on the first of several GPUs, and return its metrics.

    Args:
        folder: The run's folder.
        task: What was trained.
        split: The images.
        prepare: Called with the checkpoint before.
    """
    if torch.cuda.is_available():
        torch.cuda.current_device()  # as before a training: of several GPUs' processes this one has not trained
    results = training_folder(folder)
    best = YOLO(str(results / "weights" / "best.pt"))
    prepare(best)
    arguments = {key: task.arguments[key] for key in ("imgsz", "batch", "workers")}
    device = task.arguments["device"]
    first = next(iter(devices.numbers(device)), device)
    own = {"project": str(folder.absolute()), "name": f"{results.name}-{split}", "exist_ok": True, "plots": False}
    return best.val(data=task.data, split=split, device=first, **arguments, **own)


def _by_size(task: str, *files: Path) -> dict[str, float]:
    """Return the AP of small, medium and large objects of a recorded validation; {} where boxes are not upright."""
    found = validations.load_all(files)
    return ap_by_size.average_precisions(found[0]) if found and task in ap_by_size.TASKS else {}


def _is_recorded(folder: Path, task: RunSpec, trained: Trained) -> bool:
    """Return whether there are records of all of the last epochs."""
    return len(validations.load_all(validation_files(folder))) == min(task.last_epochs, trained.work.epochs)


def _last_scores(folder: Path, task: RunSpec, trained: Trained, curve: list[float]) -> list[float]:
    """Return the last epochs' scores.

    They are those of the records, which are more exact than the curve; where one is missing, the curve's.
    """
    if _is_recorded(folder, task, trained):
        return [
            Scorer(validation, trained.task).score() for validation in validations.load_all(validation_files(folder))
        ]
    return curve[-task.last_epochs :]


if __name__ == "__main__":
    end_with_the_parent()
    main(Path(sys.argv[1]))
