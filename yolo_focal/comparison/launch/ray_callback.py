"""Watches Ray Tune's trials, and puts what they report and leave into the runs' folders on this machine."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ray import tune
from ultralytics.utils import LOGGER

from yolo_focal.comparison.launch import ray_bundle
from yolo_focal.comparison.launch.devices import Slot
from yolo_focal.comparison.launch.process import Job, Poll
from yolo_focal.comparison.store.files import write, write_json
from yolo_focal.comparison.store.lock import locked
from yolo_focal.comparison.store.run_folder import LOG, TIMES, training_folder

MOST_FAILURES = 3  # lost nodes or killed processes of one run
_POLL = 1.0  # seconds between two calls of `poll`
_PATIENCE = 20.0  # seconds without a run in progress before it is asked whether a node has room for one


class Watch(tune.Callback):
    """Writes what runs report to their folders on this machine, and what they have left when they end.

    Args:
        jobs: The runs by their keys.
        poll: Called about every second.
        lack: Returns why no node has room for a run; None if one has.
    """

    def __init__(self, jobs: dict[str, Job], poll: Poll, lack: Callable[[], str | None]) -> None:
        self._jobs, self._poll, self._lack = jobs, poll, lack
        self._looked, self._worked = 0.0, time.monotonic()
        self._locks: dict[str, contextlib.ExitStack] = {}
        self._checkpoints: dict[str, Any] = {}

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *_: object) -> None:
        for lock in self._locks.values():
            lock.close()

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Look how far all are."""
        if time.monotonic() - self._looked >= _POLL:
            self._poll()
            self._looked = time.monotonic()
            self._say_what_is_waited_for(any(trial.status == "RUNNING" for trial in trials))

    def _say_what_is_waited_for(self, works: bool) -> None:
        """Say once, after all nodes with room for a run were lost, that another one is waited for."""
        if works:
            self._worked = time.monotonic()
        elif time.monotonic() - self._worked > _PATIENCE:
            lack = self._lack()
            if lack is not None:
                LOGGER.warning(f"{lack}. Waiting for one; Ctrl-C ends the comparison, and the same command goes on")
            self._worked = time.monotonic() if lack is None else math.inf

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Hold the run's folder, which says that it is running."""
        key = trial.config["run"]
        if key not in self._locks:
            self._locks[key] = contextlib.ExitStack()
            self._locks[key].enter_context(locked(self._jobs[key].folder, wait=60))

    def on_trial_result(
        self,
        iteration: int,
        trials: list[Any],
        trial: Any,
        result: dict[str, Any],
        **info: Any,
    ) -> None:
        """Write to the run's folder how far it is, and where."""
        job = self._jobs[trial.config["run"]]
        job.on(Slot(None, None, result["place"])).write()
        if result["times"] is not None:
            write_json(job.folder / TIMES, result["times"])
        (job.folder / LOG).touch()  # it has been started
        training_folder(job.folder).mkdir(exist_ok=True)
        write(training_folder(job.folder) / "results.csv", result["rows"])

    def on_checkpoint(
        self,
        iteration: int,
        trials: list[Any],
        trial: Any,
        checkpoint: Any,
        **info: Any,
    ) -> None:
        """Note the run's last checkpoint."""
        self._checkpoints[trial.config["run"]] = checkpoint

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Take over what the run has left."""
        key = trial.config["run"]
        folder = self._jobs[key].folder
        try:
            with self._checkpoints.pop(key).as_directory() as packed:
                ray_bundle.unpack(Path(packed), folder)
        except OSError as error:
            LOGGER.warning(f"{folder}: what the run has left was not read: {error}. The same command reads it again")
        self._locks.pop(key).close()

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Let go of a run that was lost too often."""
        lock = self._locks.pop(trial.config["run"], None)
        if lock is not None:
            lock.close()

    def note_error(self, result: Any) -> None:
        """Write to a run's log why Ray Tune gave it up."""
        if result.error is None:
            return
        job = self._jobs[result.config["run"]]
        last = str(result.error).strip().splitlines()[-1:]
        with (job.folder / LOG).open("a", encoding="utf-8") as log:
            log.write(f"Ray gave the run up after {MOST_FAILURES + 1} failures: {' '.join(last)}\n")
