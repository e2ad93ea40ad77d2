"""Trains a run on several GPUs: `python -m yolo_focal.comparison.worker.ddp FOLDER` is one of its processes.

Ultralytics starts processes of its own where it is given several GPUs, which know nothing of snapshots and recorded
validations. Where it finds that it runs in one of several already, it starts none: so they are started here, by
torch's launcher, and each trains as a run on one GPU does.
"""

from __future__ import annotations

import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure, record
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from yolo_focal.comparison.launch.process import end_with_the_parent
from yolo_focal.comparison.store.files import read_json, write_json
from yolo_focal.comparison.store.run_folder import read_task, training_folder
from yolo_focal.comparison.store.run_result import Trained

_TRAINED = "trained.json"
_HANDLED = (signal.SIGTERM, signal.SIGINT)


def train(folder: Path, processes: int) -> Trained:
    """Train a run in several processes, or go on with its last snapshot; see `train.train`.

    Args:
        folder: The run's folder, with its task.
        processes: Their number, one for each GPU.

    Raises:
        RuntimeError: One of them has failed. If a signal has ended it, this process ends by the same.
    """
    trained = folder / _TRAINED
    trained.unlink(missing_ok=True)
    # Each process of Ultralytics 8.4 would remove it, if it is there; a snapshot has it.
    (training_folder(folder) / "results.csv").unlink(missing_ok=True)
    failure, handlers = None, {number: signal.getsignal(number) for number in _HANDLED}
    with tempfile.TemporaryDirectory() as place:
        tempfile.tempdir = place  # the launcher leaves a folder behind
        try:
            elastic_launch(_config(folder, processes), sys.executable)("-m", __name__, str(folder))
        except ChildFailedError as error:
            failure = _cause(error)
        finally:
            tempfile.tempdir = None
            for number, handler in handlers.items():  # the launcher leaves its own
                signal.signal(number, handler)
    if failure is not None:
        if failure.exitcode < 0:
            signal.raise_signal(-failure.exitcode)
        raise RuntimeError(_message(failure))
    found = Trained.from_json(read_json(trained))
    trained.unlink()
    return found


def _config(folder: Path, processes: int) -> LaunchConfig:
    return LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",  # a free port
        run_id=folder.name,
        max_restarts=0,
        local_addr="127.0.0.1",  # not by the machine's name, which need not lead to it
        monitor_interval=0.1,  # old releases would look for lost processes every half minute
    )


def _cause(error: ChildFailedError) -> ProcessFailure:
    """Return the failure that the others come from: when a process is lost, they fail or are ended by SIGTERM."""
    lost = (one for one in error.failures.values() if one.exitcode < 0 and one.exitcode != -signal.SIGTERM)
    return next(lost, error.get_first_failure()[1])


def _message(failure: ProcessFailure) -> str:
    """Return the first line of a process's error, which `record` has written, or what the launcher says of it."""
    written: Any = failure.message
    return str(written["message"] if isinstance(written, dict) else written).splitlines()[0]


@record  # an error's message goes to the process that has started this one
def main(folder: Path) -> None:
    """Train as one of several processes; the first writes what it has found."""
    from yolo_focal.comparison.worker import train  # only here: RANK is set now, which Ultralytics reads when imported

    task = read_task(folder)
    assert task is not None
    found = train.train(folder, task)
    if found is not None:
        write_json(folder / _TRAINED, found.as_json())


if __name__ == "__main__":
    end_with_the_parent()
    main(Path(sys.argv[1]))
