"""Starts the runs, some side by side: on this machine, or on a Ray cluster."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Callable

from yolo_focal.comparison.run import LOG
from yolo_focal.errors import ConfigError

_POLL = 1.0  # seconds between two looks at how far the runs are
_PASSED_ON = ("YOLO_", "_YOLO_", "ULTRALYTICS_")  # environment variables that a run elsewhere needs too

Poll = Callable[[], None]


def on_this_machine(folders: Sequence[Path], workers: int, threads: int, poll: Poll) -> None:
    """Run every folder's task, `workers` of them side by side.

    Args:
        folders: Of the runs.
        workers: How many processes.
        threads: CPU threads of each.
        poll: Called every second.
    """
    stop = threading.Event()
    environment = _environment(threads)
    pool = ThreadPoolExecutor(workers)
    try:
        futures: list[Future[None]] = [
            pool.submit(_execute, folder, environment, str(Path.cwd()), stop) for folder in folders
        ]
        waiting = set(futures)
        while waiting:
            done, waiting = wait(waiting, timeout=_POLL, return_when=FIRST_COMPLETED)
            for future in done:
                future.result()
            poll()
    finally:
        stop.set()  # where it was interrupted: what is queued does not start, what runs is ended
        pool.shutdown()


def on_ray(folders: Sequence[Path], workers: int, threads: int, poll: Poll, address: str | None) -> None:
    """Run every folder's task as a task of Ray; its machines must see the folders and the data under the same paths.

    Args:
        folders: Of the runs.
        workers: How many run side by side where Ray is started here, without an address.
        threads: CPUs that each takes.
        poll: Called every second.
        address: Of a cluster; without it Ray is started on this machine.
    """
    try:
        import ray
    except ImportError:
        raise ConfigError('engine=ray: it needs the package ray: pip install "yolo-focal[ray]"') from None
    started = not ray.is_initialized()
    if started:
        cpus = None if address else workers * threads
        ray.init(
            address=address, num_cpus=cpus, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR
        )
    try:
        task = ray.remote(num_cpus=threads, max_retries=0)(_execute)
        waiting = [task.remote(folder, _environment(threads), str(Path.cwd())) for folder in folders]
        while waiting:
            done, waiting = ray.wait(waiting, timeout=_POLL)
            ray.get(done)
            poll()
    finally:
        if started:
            ray.shutdown()


def _environment(threads: int) -> dict[str, str]:
    passed_on = {key: value for key, value in os.environ.items() if key.startswith(_PASSED_ON)}
    return {**passed_on, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}


def _execute(folder: Path, environment: dict[str, str], cwd: str, stop: threading.Event | None = None) -> None:
    """Run one task and write what it prints beside it; how it ended is read from its folder."""
    if stop is not None and stop.is_set():
        return
    with (folder / LOG).open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "yolo_focal.comparison.run", str(folder)],
            cwd=cwd,
            env={**os.environ, **environment},
            stdin=subprocess.PIPE,  # held open: the process ends when this one does
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        while process.poll() is None:
            if stop is not None and stop.wait(0.2):
                process.kill()
                process.wait()
            elif stop is None:
                process.wait()
        if process.returncode < 0:  # it could not say so itself
            log.write(f"the process was ended by signal {-process.returncode}\n".encode())
