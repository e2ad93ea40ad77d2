"""Lets a killed training go on to the very result that it would have had.

Ultralytics' own `resume` does not: its checkpoint keeps the averaged weights in float16 alone, and the order of the
data, the random numbers and the accumulated gradients begin anew. Through the trainer's callbacks this keeps all of it:

- Each epoch begins with random numbers and a data loader that depend on the seed and the epoch only, in every run.
- After each epoch past the warm-up, what the trainer holds is written to a folder, renamed when it is complete.
- A run that finds such a folder starts as it did at first and then takes over what is in there.

In the warm-up, Ultralytics itself sets after how many batches a step is taken; a run killed there starts again.
"""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch

_FILES = ("weights/last.pt", "weights/best.pt", "results.csv")


class Snapshots:
    """The snapshots of one training.

    Args:
        folder: Where they are; the last complete one is taken over.
        seed: Of the training.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self._folder, self._seed = folder, seed
        self._off = False
        self._state: dict[str, Any] | None = None  # what is taken over, until the first epoch has begun
        self._batch = 0  # of the epoch
        self._updates = 0  # of the averaged weights: one for each step
        self._last_step = -1  # the batch, counted over all epochs, at which the last step was taken
        self._accumulate: int | None = None  # what the trainer's must be again after the first step

    def attach(self, model: Any) -> None:
        """Add the callbacks to Ultralytics' `YOLO`, before it trains."""
        model.add_callback("on_train_start", self._on_train_start)
        model.add_callback("on_train_epoch_start", self._on_train_epoch_start)
        model.add_callback("on_train_batch_end", self._on_train_batch_end)
        model.add_callback("on_fit_epoch_end", self._on_fit_epoch_end)

    def remove(self) -> None:
        """Remove the snapshots of a training that has ended."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _complete(self) -> list[Path]:
        """Return the snapshots, the oldest first."""
        return sorted(self._folder.glob("epoch-*[0-9]"), key=lambda path: int(path.name.partition("-")[2]))

    def _on_train_start(self, trainer: Any) -> None:
        if not self._complete():
            return
        place = self._complete()[-1]
        state = torch.load(place / "state.pt", map_location=trainer.device, weights_only=False)
        for name in _FILES:
            (trainer.save_dir / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(place / Path(name).name, trainer.save_dir / name)
        trainer.model.load_state_dict(state["model"])
        trainer.ema.ema.load_state_dict(state["ema"])
        trainer.ema.updates = self._updates = state["updates"]
        trainer.optimizer.load_state_dict(state["optimizer"])
        trainer.scaler.load_state_dict(state["scaler"])
        trainer.best_fitness = state["best_fitness"]
        trainer.stopper.__dict__.update(state["stopper"])
        trainer.start_epoch = state["epoch"] + 1
        trainer.scheduler.last_epoch = state["epoch"]  # as Ultralytics' own resume sets it
        if state["criterion"] is not None:  # it weighs two heads by how far the training is
            trainer.model.criterion = trainer.model.init_criterion()
            trainer.model.criterion.updates = state["criterion"] - 1
            trainer.model.criterion.update()
        self._last_step, self._state = state["last_step"], state

    def _on_train_epoch_start(self, trainer: Any) -> None:
        retried = getattr(trainer, "nan_recovery_attempts", 0) or getattr(trainer, "_oom_retries", 0)
        if retried and not self._off:  # the trainer itself went back to a checkpoint of its own
            self._off = True
            self.remove()
        if self._state is not None:
            # The trainer has just cleared the gradients, and believes that the last step was at batch -1.
            for parameter, gradient in zip(trainer.model.parameters(), self._state["gradients"]):
                parameter.grad = gradient
            self._accumulate = self._state["accumulate"]
            trainer.accumulate = self._state["accumulate"] + self._last_step + 1
            self._state = None
        self._batch = 0
        _begin_anew(self._seed, trainer.epoch, trainer.train_loader, trainer.test_loader)

    def _on_train_batch_end(self, trainer: Any) -> None:
        if trainer.ema.updates != self._updates:
            self._updates = trainer.ema.updates
            self._last_step = self._batch + len(trainer.train_loader) * trainer.epoch
            if self._accumulate is not None:
                trainer.accumulate, self._accumulate = self._accumulate, None
        self._batch += 1

    def _on_fit_epoch_end(self, trainer: Any) -> None:
        # After the last epoch there is nothing to go on with.
        if self._off or trainer.stop or self._batch == 0 or _is_warming_up(trainer):
            return
        self._batch = 0  # Ultralytics calls this once more after the last epoch
        criterion = getattr(trainer.model, "criterion", None)
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
            "accumulate": self._accumulate or trainer.accumulate,
            "last_step": self._last_step,
        }
        unfinished = self._folder / "unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        torch.save(state, unfinished / "state.pt")
        for name in _FILES:
            shutil.copy(trainer.save_dir / name, unfinished)
        for file in unfinished.iterdir():
            with file.open("rb+") as opened:
                os.fsync(opened.fileno())  # the folder's name must not outlive a power failure without its contents
        older = self._complete()
        unfinished.rename(self._folder / f"epoch-{trainer.epoch}")
        for path in older:
            shutil.rmtree(path)


def _is_warming_up(trainer: Any) -> bool:
    """Tell whether the next epoch begins within the warm-up."""
    batches, epochs = len(trainer.train_loader), trainer.args.warmup_epochs
    if hasattr(trainer, "_get_warmup_iterations"):
        warm_up = trainer._get_warmup_iterations(batches)
    else:  # before Ultralytics 8.4
        warm_up = max(round(epochs * batches), 100) if epochs > 0 else -1
    return bool((trainer.epoch + 1) * batches <= warm_up)


def _begin_anew(seed: int, epoch: int, *loaders: Any) -> None:
    """Let an epoch's data depend on the seed and the epoch alone, and not on the epochs before it."""
    number = seed * 1_000_003 + epoch
    random.seed(number)
    np.random.seed(number % 2**32)
    torch.manual_seed(number)
    for loader in loaders:  # classifiers are validated in random order too, and the loss depends on it
        loader.generator.manual_seed(number)
        dataset = loader.dataset
        if getattr(dataset, "buffer", None) and dataset.cache != "ram":  # the images that a mosaic is made of
            for index in dataset.buffer:
                dataset.ims[index] = dataset.im_hw0[index] = dataset.im_hw[index] = None
            dataset.buffer.clear()
        loader.reset()  # last: older releases start to load here
