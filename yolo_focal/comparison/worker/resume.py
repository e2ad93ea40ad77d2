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
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data.distributed import DistributedSampler
from ultralytics.utils import LOGGER, RANK

from yolo_focal.comparison.store.files import names_in_manifest, write_manifest
from yolo_focal.comparison.store.run_folder import complete_snapshots
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
    """

    def __init__(self, folder: Path, seed: int, every: int = 1) -> None:
        self._folder, self._seed, self._every = folder, seed, every
        self._off = False
        self._gradients: list[Any] | None = None  # to be put back when the first epoch has begun
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
        self._steps.take_over(trainer)
        place = self.latest()
        if place is None:
            return
        state = torch.load(place / _STATE, map_location=trainer.device, weights_only=True)
        for name in _FILES if RANK < 1 else ():
            (trainer.save_dir / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(place / Path(name).name, trainer.save_dir / name)
        trainer.model.load_state_dict(state["model"])
        if trainer.ema:  # older releases have one in the first of several processes alone, and test images too
            trainer.ema.ema.load_state_dict(state["ema"])
            trainer.ema.updates = state["updates"]
        trainer.optimizer.load_state_dict(state["optimizer"])
        if state["scaler"] and trainer.scaler.state_dict():  # a run on the CPU has none, whatever the other had
            trainer.scaler.load_state_dict(state["scaler"])
        trainer.best_fitness = state["best_fitness"]
        trainer.stopper.__dict__.update(state["stopper"])
        trainer.start_epoch = state["epoch"] + 1
        trainer.scheduler.last_epoch = state["epoch"]  # as Ultralytics' own resume sets it
        if state["criterion"] is not None:  # a loss whose weights depend on the epoch
            network = _network(trainer)
            network.criterion = network.init_criterion()
            network.criterion.updates = state["criterion"] - 1
            network.criterion.update()
        self._steps.restore(state["steps"])
        self._gradients = state["gradients"]
        LOGGER.info(f"Going on after epoch {state['epoch'] + 1} with what its snapshot holds")

    def _on_train_epoch_start(self, trainer: Any) -> None:
        retries = getattr(trainer, "nan_recovery_attempts", 0) or getattr(trainer, "_oom_retries", 0)
        if retries and not self._off:  # the trainer went back to a state of its own
            self._off = True
            if RANK < 1:
                self.remove()
        if self._gradients is not None:  # the trainer has just cleared them
            for parameter, gradient in zip(trainer.model.parameters(), self._gradients):
                parameter.grad = gradient
            self._gradients = None
        self._steps.begin_epoch(restarted=bool(retries))
        _seed_epoch(self._seed, trainer.epoch, trainer.train_loader, getattr(trainer, "test_loader", None))

    def _on_fit_epoch_end(self, trainer: Any) -> None:
        # Ultralytics calls this once more after the last epoch, when there is nothing to go on with.
        if self._off or trainer.stop or self._ended == trainer.epoch:
            return
        self._ended = trainer.epoch
        if RANK > 0 or (trainer.epoch + 1) % self._every:
            return
        criterion = getattr(_network(trainer), "criterion", None)
        state = {
            "model": trainer.model.state_dict(),
            "ema": trainer.ema.ema.state_dict(),
            "updates": trainer.ema.updates,
            "optimizer": trainer.optimizer.state_dict(),
            "scaler": trainer.scaler.state_dict(),
            "best_fitness": trainer.best_fitness,
            "stopper": dict(vars(trainer.stopper)),
            "epoch": trainer.epoch,
            "criterion": getattr(criterion, "updates", None) if hasattr(criterion, "update") else None,
            "gradients": [parameter.grad for parameter in trainer.model.parameters()],
            "steps": self._steps.state(),
        }
        try:
            self._write(_plain(state), trainer)
        except OSError as error:  # a full disk above all: the training itself goes on
            shutil.rmtree(self._folder / "unfinished", ignore_errors=True)
            LOGGER.warning(f"No snapshot of epoch {trainer.epoch + 1}: {error}")

    def _write(self, state: dict[str, Any], trainer: Any) -> None:
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
            shutil.copy(trainer.save_dir / name, unfinished)
        for file in unfinished.iterdir():
            with file.open("rb+") as opened:
                os.fsync(opened.fileno())  # the folder's name must not outlive a power failure without its contents
        write_manifest(unfinished)
        unfinished.rename(self._folder / f"epoch-{trainer.epoch}")
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


def _network(trainer: Any) -> Any:
    """Return the trained network without what shares its batches among processes."""
    return trainer.model.module if isinstance(trainer.model, DistributedDataParallel) else trainer.model


def _seed_epoch(seed: int, epoch: int, *loaders: Any) -> None:
    """Make an epoch's data depend on the seed and the epoch alone, and not on the epochs before it."""
    base = seed * 1_000_003
    number = base + epoch + max(RANK, 0) * 982_451_653  # each of several processes augments its own images
    random.seed(number)
    np.random.seed(number % 2**32)
    torch.manual_seed(number)
    for loader in _distinct(loaders):  # classifiers are validated in random order too, and the loss depends on it
        loader.generator.manual_seed(number)
        if isinstance(loader.sampler, DistributedSampler):  # in the same order for all processes, which take turns
            loader.sampler.seed = base
            loader.sampler.set_epoch(epoch)
        dataset = loader.dataset
        # The images that mosaics are made of. Older releases do not say whether they cache: they load them again.
        if getattr(dataset, "buffer", None) and getattr(dataset, "cache", None) != "ram":
            for index in dataset.buffer:
                dataset.ims[index] = dataset.im_hw0[index] = dataset.im_hw[index] = None
            dataset.buffer.clear()
        loader.reset()  # last: older releases start to load here


def _distinct(loaders: tuple[Any, ...]) -> Iterator[Any]:
    return (loader for loader in dict.fromkeys(loaders) if loader is not None)
