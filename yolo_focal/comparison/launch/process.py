"""A run that is to be executed, and the process that executes it on the machine that it is on."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import IO, Any, NamedTuple

from yolo_focal.comparison.launch.devices import Slot
from yolo_focal.comparison.store.files import write_json
from yolo_focal.comparison.store.run_folder import TASK, RunSpec

Poll = Callable[[], None]


class Job(NamedTuple):
    """A run that is to be executed.

    Attributes:
        folder: The run's folder, in which the process finds its task and writes its result.
        task: What to train, without a device.
    """

    folder: Path
    task: RunSpec

    @property
    def model(self) -> str:
        """The model's label."""
        return self.folder.parent.name

    def write(self) -> None:
        """Write the task to the run's folder."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(self.folder / TASK, asdict(self.task))

    def on(self, slot: Slot) -> Job:
        """Return the job with the device on which it is trained."""
        arguments = {**self.task.arguments, "device": slot.device}
        return self._replace(task=replace(self.task, arguments=arguments, place=slot.name))


def process_environment(task: RunSpec, slot: Slot) -> dict[str, str]:
    """Return the environment variables that a run's process is given on top of its parent's."""
    threads = str(task.threads)
    # Threads that spin while they wait slow down whatever else uses the machine, and themselves.
    variables = {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, "OMP_WAIT_POLICY": "passive"}
    return variables if slot.visible is None else {**variables, "CUDA_VISIBLE_DEVICES": slot.visible}


def start(
    job: Job, slot: Slot, log: IO[bytes], cwd: Path, forwarded: Mapping[str, str] | None = None
) -> subprocess.Popen[Any]:
    """Write a job's task with its device, and start its process.

    Args:
        job: The job.
        slot: Where it is trained.
        log: What the process prints to.
        cwd: Working directory.
        forwarded: Environment variables to set on top of this process's.
    """
    job = job.on(slot)
    job.write()
    return subprocess.Popen(
        [sys.executable, "-m", "yolo_focal.comparison.worker.run", str(job.folder)],
        cwd=cwd,
        env={**os.environ, **(forwarded or {}), **process_environment(job.task, slot)},
        stdin=subprocess.PIPE,  # closed when this process ends, which ends the child too
        stdout=log,
        stderr=subprocess.STDOUT,
    )


def end(process: subprocess.Popen[Any]) -> None:
    """Kill a process if it has not ended, and let all that it has started end too: their standard input ends."""
    assert process.stdin is not None
    process.kill()
    process.stdin.close()
    process.wait()


def end_with_the_parent() -> None:
    """Let this process end at once when its standard input does, which is a pipe that the parent holds open."""
    threading.Thread(target=_exit_at_the_end_of_input, daemon=True).start()


def _exit_at_the_end_of_input() -> None:
    os.read(0, 1)
    os._exit(1)


def note_signal(process: subprocess.Popen[Any], log: IO[bytes]) -> None:
    """Say in the log which signal has ended a process, which could not log an error itself then."""
    if process.returncode < 0:
        log.write(f"the process was ended by signal {-process.returncode}\n".encode())
