"""Executes the runs on a Ray cluster, each as a trial of Ray Tune's.

Ray Tune gives each run its CPUs and its GPU, tries it again on another node when its node is lost, and copies its
checkpoints to the storage. The nodes share no folder but that one. What a run reports is written to its folder on this
machine, and when it has ended all that it has left.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray
from ray import tune

from yolo_focal.comparison.launch.devices import Places, Slot, cores
from yolo_focal.comparison.launch.process import Job, Poll
from yolo_focal.comparison.launch.ray_callback import MOST_FAILURES, Watch
from yolo_focal.comparison.launch.ray_node import Shared, Trial, train
from yolo_focal.comparison.launch.ray_resources import Node, Share
from yolo_focal.comparison.launch.ray_storage import open_storage
from yolo_focal.comparison.store.run_folder import result_of
from yolo_focal.errors import ConfigError, one_line

_ANSWER = 5.0  # seconds in which an address must accept a connection,
_CONNECT = 60.0  # and a cluster must let a driver in: it is slow on a busy machine
_FORWARDED = ("YOLO_", "_YOLO_", "ULTRALYTICS_")  # prefixes of environment variables that a run needs
_OWN_FOLDER = ".ray"  # of the storage in the comparison's folder; no model's label begins with a dot


class Cluster:
    """A Ray cluster, connected to when its nodes are first asked for.

    Args:
        address: Its address; without one it is that in `RAY_ADDRESS`, or Ray is started on this machine.
        storage: Where the checkpoints go; None for the comparison's own folder.
    """

    def __init__(self, address: str | None, storage: str | None) -> None:
        self._address, self._storage = address or os.environ.get("RAY_ADDRESS"), storage
        self._started = False
        self._share = Share(0.0)

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *_: object) -> None:
        if self._started:
            ray.shutdown()

    def places(self, device: Any, parallel: int | None, per_device: int, gpus_per_run: int) -> Places:
        """Return the places that the cluster has for runs.

        Raises:
            ConfigError: There is no cluster, or `device` cannot be had there.
        """
        self._connect()
        nodes = _nodes()
        self._share = Share.of(device, per_device, nodes, gpus_per_run)
        gpus = "a GPU" if gpus_per_run == 1 else f"{gpus_per_run} GPUs"
        slot = Slot(self._share.device, None, f"{gpus if self._share.gpus else 'CPUs'} of the cluster")
        return Places(
            self._share.threads(nodes, parallel, per_device),
            lambda threads: [slot] * min(self._share.room(nodes, threads), parallel or sys.maxsize),
        )

    def run(self, folder: Path, jobs: Sequence[Job], parallel: int | None, poll: Poll) -> None:
        """Execute jobs.

        Args:
            folder: The comparison's folder.
            jobs: The jobs, in the order in which they are to be started.
            parallel: The largest number of runs at once; as many as fit if None.
            poll: Called about every second while runs are in progress.
        """
        if not jobs:
            return
        name = _OWN_FOLDER if self._storage is None else folder.name
        storage = open_storage(self._storage or str(folder), name)
        by_key = {f"{job.model}-{job.folder.name}-{job.task.fingerprint}": job for job in jobs}
        trials = {key: _trial(job) for key, job in by_key.items()}
        environment = {key: value for key, value in os.environ.items() if key.startswith(_FORWARDED)}
        shared = Shared(_files(jobs), str(Path.cwd()), environment, storage, self._share.device)
        threads = max(job.task.threads for job in jobs)  # a data set that was added may have been planned with others
        watch = Watch(by_key, poll, lambda: self._lack(threads))
        cpus = self._share.cpus(threads)
        resources = {"cpu": cpus, **({"gpu": self._share.gpus} if self._share.gpus else {})}
        tuner = tune.Tuner(
            tune.with_resources(tune.with_parameters(train, trials=trials, shared=shared), resources),
            param_space={"run": tune.grid_search(list(by_key))},
            tune_config=tune.TuneConfig(
                max_concurrent_trials=parallel, trial_dirname_creator=lambda trial: str(trial.config["run"])
            ),
            run_config=tune.RunConfig(
                name=time.strftime("%Y%m%d-%H%M%S", time.gmtime()),
                storage_path=storage.path,
                storage_filesystem=storage.filesystem,
                failure_config=tune.FailureConfig(max_failures=MOST_FAILURES),
                checkpoint_config=tune.CheckpointConfig(num_to_keep=1),
                callbacks=[watch],
                verbose=0,
            ),
        )
        with _quiet(), watch:
            results = tuner.fit()
        for index in range(len(results)):
            watch.note_error(results[index])
        if all(result_of(job.folder, job.task.fingerprint) for job in jobs):
            storage.remove()

    def _lack(self, threads: int) -> str | None:
        """Return why no node has room for a run; None if one has."""
        try:
            self._share.room(_nodes(), threads)
        except ConfigError as error:
            return str(error)
        return None

    def _connect(self) -> None:
        if ray.is_initialized():
            return
        if self._address not in {None, "auto", "local"}:
            _check(str(self._address))
        own = self._address in {None, "local"}
        try:
            ray.init(
                address="local" if own else self._address,  # without "local" Ray would join a cluster that runs here
                num_cpus=cores() if own else None,
                include_dashboard=False if own else None,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise ConfigError(
                f"address={self._address}: {one_line(error)}; write the address of a running cluster, "
                "such as address=10.0.0.1:6379, or leave address= out to start Ray on this machine"
            ) from None
        self._started = True


def _trial(job: Job) -> Trial:
    data = str(Path(job.task.data).absolute()) if Path(job.task.data).exists() else job.task.data
    return Trial(job.model, job.folder.name, replace(job.task, data=data))


def _files(jobs: Sequence[Job]) -> dict[str, bytes]:
    """Return the files that nodes need and that need not be there: models, weights, and the lists of the folds."""
    files: set[Path] = set()
    for job in jobs:
        for name in (job.task.model, job.task.arguments.get("pretrained")):
            if isinstance(name, str) and Path(name).is_absolute() and Path(name).is_file():
                files.add(Path(name))
        data = Path(job.task.data).absolute()
        if data.parent.parent == job.folder.parent.parent:
            files |= {data, *data.parent.glob(f"{data.stem}-*.txt")}
    return {str(file): file.read_bytes() for file in sorted(files)}


def _nodes() -> list[Node]:
    alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    return [Node(int(resources.get("CPU", 0)), int(resources.get("GPU", 0))) for resources in alive]


def _check(address: str) -> None:
    """Check that a cluster answers at an address; Ray itself would try for two minutes and end this process then.

    Raises:
        ConfigError: It does not.
    """
    host, colon, port = address.rpartition(":")
    if "://" in address or not colon or not port.isdigit():
        raise ConfigError(
            f"address={address}: write address=HOST:PORT, such as address=10.0.0.1:6379, or address=auto for the "
            "cluster that this machine is a node of; the command runs on one of its nodes"
        )
    silent = ConfigError(
        f"address={address}: no Ray cluster answers there; write the address that ray start --head has printed, or "
        "leave address= out to start Ray on this machine"
    )
    try:
        socket.create_connection((host, int(port)), _ANSWER).close()
    except (OSError, OverflowError):
        raise silent from None
    code = f"import ray; print(flush=True); ray.init(address={address!r}, log_to_driver=False)"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as probe:
        assert probe.stdout is not None
        probe.stdout.readline()  # it has imported Ray, which takes long on a busy machine
        try:
            probe.communicate(timeout=_CONNECT)
        except subprocess.TimeoutExpired:
            probe.kill()
            raise silent from None
    if probe.returncode:
        raise silent


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Leave the terminal to the comparison's own lines, and Ctrl-C to Python, which ends the comparison at once."""
    own = {"TUNE_DISABLE_SIGINT_HANDLER": "1", "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1", "RAY_AIR_NEW_OUTPUT": "0"}
    before = {key: os.environ.get(key) for key in own}
    os.environ.update(own)
    logger = logging.getLogger("ray.tune")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
        for key, value in before.items():
            if value is None:
                os.environ.pop(key)
            else:
                os.environ[key] = value
