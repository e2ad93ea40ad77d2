"""Watches Ray Tune's trials, and puts what they report and leave into the runs' folders on this machine."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Any

from ray import tune
from ultralytics.utils import LOGGER

from yolo_focal.comparison import bundle
from yolo_focal.comparison.devices import Slot
from yolo_focal.comparison.files import write, write_json
from yolo_focal.comparison.job import Job, Poll
from yolo_focal.comparison.lock import locked
from yolo_focal.comparison.task import LOG, TIMES, training_folder

MOST_FAILURES = 3  # lost nodes or killed processes of one run
_POLL = 1.0  # seconds between two calls of `poll`


class Watch(tune.Callback):
    """Writes what runs report to their folders on this machine, and what they have left when they end."""

    def __init__(self, jobs: dict[str, Job], poll: Poll) -> None:
        self._jobs, self._poll = jobs, poll
        self._looked = 0.0
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
                bundle.unpack(Path(packed), folder)
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
