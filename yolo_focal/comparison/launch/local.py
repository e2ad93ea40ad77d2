"""Executes the runs in parallel processes on this machine."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path

from yolo_focal.comparison.launch.devices import Slot
from yolo_focal.comparison.launch.process import Job, Poll, end, note_signal, start
from yolo_focal.comparison.launch.queue import Schedule
from yolo_focal.comparison.store.run_folder import LOG

_POLL = 1.0  # seconds between two calls of `poll`


def on_this_machine(jobs: Sequence[Job], slots: Sequence[Slot], poll: Poll) -> None:
    """Execute jobs in processes on this machine, one at a time in each slot.

    Args:
        jobs: The jobs, in the order in which they are to be started.
        slots: The places for them.
        poll: Called at least every second while runs are in progress.
    """
    stop = threading.Event()
    schedule = Schedule(jobs, len(slots), lambda job: str(job.folder.parent))
    pool = ThreadPoolExecutor(max(1, len(slots)))
    try:
        waiting: set[Future[None]] = {pool.submit(_execute_all, schedule, slot, stop) for slot in slots}
        while waiting:
            done, waiting = wait(waiting, timeout=_POLL, return_when=FIRST_COMPLETED)
            for future in done:
                future.result()
            poll()
    finally:
        stop.set()  # after an interruption: no further run starts, and running processes are killed
        pool.shutdown()


def _execute_all(schedule: Schedule[Job], slot: Slot, stop: threading.Event) -> None:
    """Execute one job after the other in a slot, until there is none left."""
    while not stop.is_set():
        job = schedule.next()
        if job is None:
            return
        began = time.monotonic()
        _execute(job, slot, stop)
        schedule.ended(job, time.monotonic() - began)


def _execute(job: Job, slot: Slot, stop: threading.Event) -> None:
    """Execute a job in a process, which is killed when `stop` is set, and write its output to the run's log file."""
    with (job.folder / LOG).open("ab") as log:
        process = start(job, slot, log, Path.cwd())
        try:
            while process.poll() is None and not stop.wait(0.2):
                pass
        finally:
            end(process)
        note_signal(process, log)
