"""Lets an interrupted training go on to the result that it would have had without the interruption.

Ultralytics' own `resume` does not: its checkpoint keeps the averaged weights in float16 alone, and the order of the
images, the random numbers and the accumulated gradients begin anew. Through the trainer's callbacks this keeps them:

- Each epoch begins with random numbers and a data loader that depend on the seed and the epoch only, in every run.
- After an epoch, everything that the trainer holds is written to a folder, which is renamed when it is complete.
- A run that finds such a folder starts as it did at first and then takes over what is in there.

On a CPU the result is equal bit by bit. On a GPU it is as equal as two runs of the same training are.

Of several processes that share each batch the first writes the snapshots and all take them over: what they hold differs
in nothing but the running statistics of batch norms, of which Ultralytics keeps and validates the first one's.
"""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data.distributed import DistributedSampler
from ultralytics.utils import LOGGER, RANK

from yolo_focal.comparison.store.files import names_in_manifest, write_manifest
from yolo_focal.comparison.store.run_folder import complete_snapshots
from yolo_focal.comparison.worker import ultralytics_trainer as ultralytics
from yolo_focal.comparison.worker.accumulation import Stepping
from yolo_focal.files import sync_folder

_FILES = ("weights/last.pt", "weights/best.pt", "results.csv")
_STATE = "state.pt"


class Snapshots:
    """The snapshots of one training.

    Args:
        folder: Where they are; the last one that is whole is taken over.
        seed: Of the training.
        every: Epochs from one snapshot to the next.

    Attributes:
        unsupported: What this release lacks, so that there are no snapshots; None if nothing.
    """

    def __init__(self, folder: Path, seed: int, every: int = 1) -> None:
        self.unsupported: str | None = None
        self._folder, self._seed, self._every = folder, seed, every
        self._begun = self._off = False
        self._kept: dict[str, Any] | None = None  # what is to be put back when the first epoch has begun
        self._ended: int | None = None  # the last epoch that `on_fit_epoch_end` was called for
        self._steps = Stepping()

    def attach(self, model: Any) -> None:
        """Add the callbacks to Ultralytics' `YOLO`, before it trains."""
        model.add_callback("on_train_start", self._on_train_start)
        model.add_callback("on_train_epoch_start", self._on_train_epoch_start)
        model.add_callback("on_train_batch_end", self._steps.on_train_batch_end)
        model.add_callback("on_fit_epoch_end", self._on_fit_epoch_end)

    def remove(self) -> None:
        """Remove the snapshots of a training that has ended."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def latest(self) -> Path | None:
        """Return the last snapshot that is whole, or None; those that are not are removed."""
        for path in reversed(complete_snapshots(self._folder)):
            if _is_whole(path):
                return path
            if RANK < 1:
                shutil.rmtree(path)
        return None

    def _on_train_start(self, trainer: Any) -> None:
        self.unsupported = ultralytics.unsupported(trainer)
        place = self.latest()
        if self.unsupported or place is None:
            return
        state = torch.load(place / _STATE, map_location=ultralytics.device(trainer), weights_only=True)
        for name in _FILES if RANK < 1 else ():
            file = ultralytics.folder(trainer) / name
            file.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(place / Path(name).name, file)
        ultralytics.take_over(trainer, state)
        self._kept = state
        LOGGER.info(f"Going on after epoch {state['epoch'] + 1} with what its snapshot holds")

    def _on_train_epoch_start(self, trainer: Any) -> None:
        if not self._begun:
            self._begun = True
            self.unsupported = self.unsupported or ultralytics.unsupported(trainer, ultralytics.EPOCH)
            if self.unsupported is None:
                self._steps.take_over(trainer)
        if self.unsupported:
            return
        gone_back = ultralytics.has_gone_back(trainer)
        if gone_back and not self._off:
            self._off = True
            if RANK < 1:
                self.remove()
        if self._kept is not None:
            self._steps.restore(self._kept["steps"])
            for parameter, gradient in zip(ultralytics.parameters(trainer), self._kept["gradients"], strict=True):
                parameter.grad = gradient  # the trainer has just cleared them
            self._kept = None
        self._steps.begin_epoch(restarted=gone_back)
        _seed_epoch(self._seed, ultralytics.epoch(trainer), *ultralytics.loaders(trainer))

    def _on_fit_epoch_end(self, trainer: Any) -> None:
        # Ultralytics calls this once more after the last epoch, when there is nothing to go on with.
        self.unsupported = self.unsupported or ultralytics.unsupported_loss(trainer)
        if self.unsupported or self._off or ultralytics.has_stopped(trainer):
            return
        epoch = ultralytics.epoch(trainer)
        if self._ended == epoch:
            return
        self._ended = epoch
        if RANK > 0 or (epoch + 1) % self._every:
            return
        state = {**ultralytics.state(trainer), "steps": self._steps.state()}
        try:
            self._write(_plain(state), ultralytics.folder(trainer))
        except OSError as error:  # a full disk above all: the training itself goes on
            shutil.rmtree(self._folder / "unfinished", ignore_errors=True)
            LOGGER.warning(f"No snapshot of epoch {epoch + 1}: {error}")

    def _write(self, state: dict[str, Any], training: Path) -> None:
        unfinished = self._folder / "unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        older = complete_snapshots(self._folder)
        needed = sum(file.stat().st_size for path in older[-1:] for file in path.iterdir())
        free = shutil.disk_usage(unfinished).free
        if free < needed:
            raise OSError(f"{self._folder}: it takes {needed / 2**20:.0f} MiB, and {free / 2**20:.0f} MiB are free")
        torch.save(state, unfinished / _STATE)
        for name in _FILES:
            shutil.copy(training / name, unfinished)
        for file in unfinished.iterdir():
            with file.open("rb+") as opened:
                os.fsync(opened.fileno())  # the folder's name must not outlive a power failure without its contents
        write_manifest(unfinished)
        unfinished.rename(self._folder / f"epoch-{state['epoch']}")
        sync_folder(self._folder)
        for path in older:
            shutil.rmtree(path)


def _is_whole(snapshot: Path) -> bool:
    """Return whether each file of a snapshot is as it was written."""
    names = names_in_manifest(snapshot)
    return names is not None and {*names} == {_STATE, *(Path(name).name for name in _FILES)}


def _plain(value: Any) -> Any:
    """Return a nest of containers with NumPy's numbers as Python's, which torch loads in its restricted mode."""
    if isinstance(value, dict):
        return type(value)((key, _plain(item)) for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return type(value)(map(_plain, value))
    return value.item() if isinstance(value, np.generic) else value


def _seed_epoch(seed: int, epoch: int, *loaders: Any) -> None:
    """Make an epoch's data depend on the seed and the epoch alone, and not on the epochs before it."""
    base = seed * 1_000_003
    number = base + epoch + max(RANK, 0) * 982_451_653  # each of several processes augments its own images
    random.seed(number)
    np.random.seed(number % 2**32)
    torch.manual_seed(number)
    for loader in loaders:  # classifiers are validated in random order too, and the loss depends on it
        loader.generator.manual_seed(number)
        if isinstance(loader.sampler, DistributedSampler):  # in the same order for all processes, which take turns
            loader.sampler.seed = base
            loader.sampler.set_epoch(epoch)
        ultralytics.forget_mosaics(loader)
        loader.reset()  # last: older releases start to load here
