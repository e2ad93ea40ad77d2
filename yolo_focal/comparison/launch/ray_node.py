"""Executes a run on a node of a Ray cluster: as a trial of Ray Tune's, in a folder that only this node sees."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from ray import tune

from yolo_focal.comparison.launch import ray_bundle
from yolo_focal.comparison.launch.devices import Slot
from yolo_focal.comparison.launch.process import Job, end, note_signal, start
from yolo_focal.comparison.launch.ray_storage import Storage
from yolo_focal.comparison.store.files import read_json
from yolo_focal.comparison.store.run_folder import LOG, SNAPSHOTS, TIMES, RunSpec, complete_snapshots, training_folder

_POLL = 0.5  # seconds between two looks at the process


class Trial(NamedTuple):
    """A run, as a node is given it.

    Attributes:
        model: The model's label.
        name: The run's name, such as "seed0".
        task: What to train. A path that is a key of `Shared.files` is one on the driver's machine.
    """

    model: str
    name: str
    task: RunSpec


class Shared(NamedTuple):
    """What all trials are given alike.

    Attributes:
        files: Contents of files on the driver's machine that nodes do not have, by their paths there.
        folder: The driver's working folder, which a node that has it works in too, so that relative paths hold.
        environment: Environment variables that a run needs.
        storage: Where the checkpoints lie.
        device: Ultralytics' `device` of each, as its process counts devices.
    """

    files: dict[str, bytes]
    folder: str
    environment: dict[str, str]
    storage: Storage
    device: str


def train(config: Mapping[str, Any], trials: Mapping[str, Trial], shared: Shared) -> None:
    """Execute a run, or go on with its last checkpoint; report after each epoch, and a checkpoint after each snapshot.

    Args:
        config: `run`, the key of a run.
        trials: All runs by their keys.
        shared: What they are given alike.

    Raises:
        RuntimeError: A signal has ended the process: Ray Tune tries again.
    """
    trial = trials[config["run"]]
    with tempfile.TemporaryDirectory(prefix="yolo-focal-") as place:
        folder = Path(place, trial.model, trial.name)
        _restore(folder, config["run"], shared.storage)
        task = _with_files(trial.task, shared.files, Path(place, "inputs"))
        folder.mkdir(parents=True, exist_ok=True)
        what = "cpu" if shared.device == "cpu" else f"GPU {os.environ.get('CUDA_VISIBLE_DEVICES')}"
        slot = Slot(shared.device, None, f"{what} of {platform.node()}")
        cwd = Path(shared.folder) if Path(shared.folder).is_dir() else Path(place)
        with (folder / LOG).open("ab") as log:
            process = start(Job(folder, task), slot, log, cwd, shared.environment)
            try:
                _follow(process, folder, slot, Path(place))
            finally:
                end(process)
            note_signal(process, log)
        if process.returncode < 0:
            raise RuntimeError(f"the process was ended by signal {-process.returncode}")
        ray_bundle.pack_whole(folder, Path(place, "whole"))
        _report(folder, slot, Path(place, "whole"))


def _follow(process: subprocess.Popen[Any], folder: Path, slot: Slot, place: Path) -> None:
    """Report what a process does, until it ends."""
    times, kept = None, None
    while process.poll() is None:
        time.sleep(_POLL)
        now = read_json(folder / TIMES)
        if now == times:
            continue
        snapshot = next(reversed(complete_snapshots(folder / SNAPSHOTS)), None)
        packed = place / "packed"
        shutil.rmtree(packed, ignore_errors=True)
        if snapshot is not None and snapshot != kept:
            if snapshot.name.partition("-")[2] not in now["epochs"]:  # its times are written in a moment
                continue
            try:
                ray_bundle.pack_to_go_on(folder, snapshot, packed)
            except FileNotFoundError:  # the next one is there already
                continue
        _report(folder, slot, packed if packed.exists() else None)
        times, kept = now, snapshot


def _report(folder: Path, slot: Slot, packed: Path | None) -> None:
    rows = training_folder(folder) / "results.csv"
    metrics = {
        "place": slot.name,
        "times": read_json(folder / TIMES),
        "rows": rows.read_text(encoding="utf-8") if rows.exists() else "",
    }
    tune.report(metrics, checkpoint=tune.Checkpoint.from_directory(packed) if packed else None)


def _restore(folder: Path, run: str, storage: Storage) -> None:
    """Take over a run's last checkpoint that is whole, of this call of `compare` or of an earlier one.

    The storage is asked and not Ray Tune, which does not know of the last one if the node was lost before the driver
    had heard of it, nor of those of earlier calls.
    """
    for path in storage.checkpoints(run):
        with tune.Checkpoint(path, storage.filesystem).as_directory() as packed:
            if ray_bundle.unpack(Path(packed), folder):
                return


def _with_files(task: RunSpec, files: Mapping[str, bytes], place: Path) -> RunSpec:
    """Write the driver's files to this node, and return the task with their paths here."""
    if not files:
        return task
    place.mkdir()
    here = {path: str(place / f"{number}" / Path(path).name) for number, path in enumerate(files)}
    for path, content in files.items():
        Path(here[path]).parent.mkdir()
        Path(here[path]).write_bytes(content)
    if task.data in files:  # of a fold: it names two lists of images
        described = yaml.safe_load(files[task.data])
        described.update({split: here[described[split]] for split in ("train", "val")})
        Path(here[task.data]).write_text(yaml.safe_dump(described, sort_keys=False), encoding="utf-8")
    pretrained = task.arguments.get("pretrained")  # a path, or whether to
    return replace(
        task,
        model=here.get(task.model, task.model),
        data=here.get(task.data, task.data),
        arguments={**task.arguments, "pretrained": here.get(str(pretrained), pretrained)},
    )
