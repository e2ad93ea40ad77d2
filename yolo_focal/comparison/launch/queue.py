"""The order in which runs are started, so that no device waits for long at the end."""

from __future__ import annotations

import statistics
import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

Job = TypeVar("Job")

_TAIL = 3  # runs for each place, at the end, that are started by their length


class Schedule(Generic[Job]):
    """Hands out runs to the places that become free, from several threads.

    Runs are started in their order, so that early seeds are complete for every model first. Towards the end those that
    are expected to take longest go first: what is started last is short, and all places end at about the same time.

    Args:
        jobs: The runs, in their order.
        places: Number of runs at once.
        kind: Returns what runs of equal length have in common: the folder of a model's runs on a data set.
    """

    def __init__(self, jobs: Sequence[Job], places: int, kind: Callable[[Job], str]) -> None:
        self._waiting = list(jobs)
        self._places, self._kind = places, kind
        self._seconds: dict[str, list[float]] = {}
        self._lock = threading.Lock()

    def next(self) -> Job | None:
        """Return the run to start now, or None if all have been started."""
        with self._lock:
            if not self._waiting:
                return None
            index = 0
            if len(self._waiting) <= _TAIL * self._places:
                index = max(range(len(self._waiting)), key=lambda number: self._expected(self._waiting[number]))
            return self._waiting.pop(index)

    def ended(self, job: Job, seconds: float) -> None:
        """Note how long a run took."""
        with self._lock:
            self._seconds.setdefault(self._kind(job), []).append(seconds)

    def _expected(self, job: Job) -> float:
        """Return how long a run is expected to take; a model that has not been tried may take longest."""
        known = self._seconds.get(self._kind(job))
        return statistics.fmean(known) if known else float("inf")
