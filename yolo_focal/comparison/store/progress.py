"""How far the runs of a comparison are, and how long they will take."""

from __future__ import annotations

import heapq
import math
import statistics
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from yolo_focal.comparison.store.lock import holder
from yolo_focal.comparison.store.results_csv import read_curve
from yolo_focal.comparison.store.run_folder import (
    LOG,
    TASK,
    TIMES,
    RunSpec,
    read_task,
    result_of,
    short,
    training_folder,
)
from yolo_focal.comparison.store.times import Times, read_times

FINISHED, RUNNING, STOPPED, WAITING = "finished", "running", "stopped", "waiting"


class RunProgress(NamedTuple):
    """How far a run is.

    Attributes:
        model: The model's label, of several data sets behind the set's and a slash.
        name: The run's name, such as "seed0".
        task: What is trained.
        state: "finished", "running", "stopped" (it failed or was interrupted) or "waiting".
        epochs: Number of epochs that it has completed.
        value: The metric after the last of them; NaN before the first.
        times: How long they took.
    """

    model: str
    name: str
    task: RunSpec
    state: str
    epochs: int
    value: float
    times: Times

    @property
    def all_epochs(self) -> int:
        """Number of epochs that it has in the end."""
        return self.epochs if self.state == FINISHED else int(self.task.arguments["epochs"])


def read_progress(folder: Path) -> Iterator[RunProgress]:
    """Read how far the runs in a comparison's folder are, or those on all its data sets, in the order of the seeds."""
    places = [file.parent for models in ("*", "*/*") for file in folder.glob(f"{models}/seed*/{TASK}")]
    found = [(place.name, place.parent.relative_to(folder).as_posix(), place) for place in places]
    for _, model, place in sorted(found):
        task = read_task(place)
        if task is not None:
            yield _read(place, model, task)


def seconds_left(runs: Sequence[RunProgress], places: int) -> float | None:
    """Return about how many seconds the training of all runs will take; None before each model's first epoch.

    Args:
        runs: The runs.
        places: Number of runs at once.
    """
    epoch = {model: _mean(_seconds(runs, model)) for model in {run.model for run in runs}}
    startup = _mean([run.times.startup for run in runs if run.times.startup])
    unfinished = [run for run in runs if run.state != FINISHED]
    if any(math.isnan(epoch[run.model]) for run in unfinished):
        return None
    left = {
        running: [
            (run.all_epochs - run.epochs) * epoch[run.model] + (0.0 if running else startup)
            for run in unfinished
            if (run.state == RUNNING) == running
        ]
        for running in (True, False)
    }
    free = left[True] + [0.0] * max(0, places - len(left[True]))  # when each place becomes free
    heapq.heapify(free)
    for seconds in sorted(left[False], reverse=True):  # the longest first, each to the place that is free first
        heapq.heapreplace(free, free[0] + seconds)
    return max(free)


def summary(runs: Sequence[RunProgress], places: int) -> str:
    """Return how many runs have finished, and how long the others will take."""
    finished = sum(run.state == FINISHED for run in runs)
    text = f"{finished} of {len(runs)} runs have finished"
    if finished == len(runs):
        return text
    seconds = seconds_left(runs, places)
    if seconds is None:
        on_each = " on each data set" if any("/" in run.model for run in runs) else ""
        return f"{text}; the time left is known after the first epoch of each model{on_each}"
    until = time.strftime("%H:%M", time.localtime(time.time() + seconds))
    return f"{text}, about {in_words(seconds)} of training left, until {until}"


def table(runs: Sequence[RunProgress]) -> list[str]:
    """Return a table of the runs, a line each below its head."""
    metric = short(runs[0].task.metric) if runs else ""
    rows = [("model", "run", "device", "epoch", metric, "left"), *(_row(run, runs) for run in runs)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def in_words(seconds: float) -> str:
    """Return a time such as "2 h 5 min", "3 min 20 s" or "45 s"."""
    whole = round(seconds)
    hours, minutes = whole // 3600, whole // 60 % 60
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {whole % 60} s" if minutes else f"{whole} s"


def _row(run: RunProgress, runs: Sequence[RunProgress]) -> tuple[str, ...]:
    left = run.state
    if run.state == RUNNING:
        seconds = seconds_left([run, *(other._replace(state=FINISHED) for other in runs if other is not run)], 1)
        left = "running" if seconds is None else in_words(seconds)
    value = "-" if math.isnan(run.value) else f"{run.value:.4f}"
    epochs = f"{run.epochs}/{run.all_epochs}"
    return run.model, run.name, run.task.place if run.epochs or run.state == RUNNING else "-", epochs, value, left


def _read(folder: Path, model: str, task: RunSpec) -> RunProgress:
    result = result_of(folder, task.fingerprint)
    times = read_times(folder / TIMES)
    if result is not None:
        curve, state = result.curve, FINISHED
    else:
        curve = read_curve(training_folder(folder) / "results.csv", task.metric).values
        begun = STOPPED if (folder / LOG).exists() else WAITING
        state = RUNNING if holder(folder) else begun
    value = curve[-1] if curve else math.nan
    return RunProgress(model, folder.name, task, state, len(curve), value, times)


def _seconds(runs: Sequence[RunProgress], model: str) -> list[float]:
    return [epoch[0] for run in runs if run.model == model for epoch in run.times.epochs.values()]


def _mean(values: Sequence[float]) -> float:
    return statistics.fmean(values) if values else math.nan
