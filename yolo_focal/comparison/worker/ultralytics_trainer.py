"""All that a run touches of Ultralytics' trainer and validator.

No other file of the comparison reads an attribute of theirs: this is the one to look through when a release has renamed
one. What a run does with them has three parts, each with a table of what it needs. Where a release lacks a name,
`unsupported` says which, and the run goes on without that part: it trains and is scored all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from torch.nn.parallel import DistributedDataParallel
from ultralytics.utils import RANK

_LOADER = ("generator", "sampler", "dataset", "reset")
_MOSAICS = tuple(f"train_loader.dataset.{name}" for name in ("buffer", "ims", "im_hw0", "im_hw"))
# Of the trainer, when its training begins; `epoch` is there when its first epoch does.
SNAPSHOTS = (
    *("accumulate", "optimizer_step", "start_epoch", "scheduler.last_epoch", "stop", "stopper", "best_fitness"),
    *("model", "ema.ema", "ema.updates", "optimizer.state_dict", "scaler.state_dict", "device", "save_dir"),
    *(f"train_loader.{name}" for name in _LOADER),
    *(f"test_loader.{name}" for name in _LOADER if RANK < 1),  # older releases have one in the first process alone
)
EPOCH = ("epoch",)
# Of the trainer, when its first epoch begins: what it has really done, which need not be what it was told.
WORK = ("epoch", "preprocess_batch", "batch_size", "args.imgsz", "train_loader.dataset", "device", "model")
# Of the validator: what it finds on each image.
RECORDS = ("update_metrics", "args.task", "training", "dataloader.dataset", "metrics")
# What marks a detection as correct: at each IoU threshold, of boxes, masks or keypoints.
CORRECT = {"detect": "tp", "obb": "tp", "segment": "tp_m", "pose": "tp_p"}
_BATCH = ("im_file", "batch_idx", "img", "bboxes", "ori_shape", "ratio_pad")


def unsupported(owner: Any, names: Iterable[str] = SNAPSHOTS) -> str | None:
    """Return the first name that a trainer or a validator of this release lacks, such as "DetectionTrainer.ema".

    Args:
        owner: The trainer or the validator; it may lack what lies in something that is None.
        names: One of the tables above.
    """
    if names is SNAPSHOTS and getattr(getattr(owner, "args", None), "task", None) != "classify":  # they make no mosaics
        names = (*SNAPSHOTS, *_MOSAICS)
    for name in names:
        value = owner
        for part in name.split("."):
            if value is None:
                break
            if not hasattr(value, part):
                return f"{type(owner).__name__}.{name}"
            value = getattr(value, part)
    return None


# The trainer


def epoch(trainer: Any) -> int:
    """Return the epoch, counted from 0."""
    return int(trainer.epoch)


def first_batch(trainer: Any) -> int:
    """Return how many batches there were before this epoch."""
    return len(trainer.train_loader) * epoch(trainer)


def has_stopped(trainer: Any) -> bool:
    """Return whether there is no further epoch."""
    return bool(trainer.stop)


def has_gone_back(trainer: Any) -> bool:
    """Return whether the trainer went back to a state of its own, out of memory or after a loss that was not finite."""
    return bool(getattr(trainer, "nan_recovery_attempts", 0) or getattr(trainer, "_oom_retries", 0))


def folder(trainer: Any) -> Path:
    """Return where the training writes its files."""
    return Path(trainer.save_dir)


def device(trainer: Any) -> Any:
    """Return the device of the training."""
    return trainer.device


def loaders(trainer: Any) -> Iterator[Any]:
    """Yield the loaders of the images to train on and to validate on."""
    found = (trainer.train_loader, getattr(trainer, "test_loader", None))
    return (loader for loader in dict.fromkeys(found) if loader is not None)


def forget_mosaics(loader: Any) -> None:
    """Let a data set begin anew to choose the images that mosaics are made of."""
    dataset = loader.dataset
    # Older releases do not say whether they cache the images: they load them again.
    if getattr(dataset, "buffer", None) and getattr(dataset, "cache", None) != "ram":
        for index in dataset.buffer:
            dataset.ims[index] = dataset.im_hw0[index] = dataset.im_hw[index] = None
        dataset.buffer.clear()


def network(trainer: Any) -> Any:
    """Return the trained network without what shares its batches among processes."""
    return trainer.model.module if isinstance(trainer.model, DistributedDataParallel) else trainer.model


def parameters(trainer: Any) -> Iterator[Any]:
    """Yield the parameters that are trained."""
    found: Iterator[Any] = trainer.model.parameters()
    return found


def call_at_every_batch(trainer: Any, step_if_due: Callable[[Any], None], assign: Callable[[int], None]) -> int:
    """Let the loop of a trainer ask at every batch whether the optimizer takes a step.

    Args:
        trainer: The trainer.
        step_if_due: Called in the place of `optimizer_step`, with it.
        assign: Called with what the loop assigns to `accumulate`, which always reads as 1.

    Returns:
        What it has assigned so far.
    """
    cls, step = type(trainer), trainer.optimizer_step
    accumulate: int = vars(trainer).pop("accumulate")
    own = property(lambda _: 1, lambda _, value: assign(value))
    trainer.__class__ = type(cls.__name__, (cls,), {"accumulate": own})
    trainer.optimizer_step = lambda: step_if_due(step)
    build = getattr(trainer, "_build_train_pipeline", None)
    if build is None:
        return accumulate

    def hand_back_and_build() -> None:
        """Out of memory: the trainer begins anew with smaller batches, and reads what it assigns."""
        trainer.__class__ = cls
        trainer.optimizer_step = step
        build()

    trainer._build_train_pipeline = hand_back_and_build
    return accumulate


def state(trainer: Any) -> dict[str, Any]:
    """Return all that a trainer goes on with after an epoch."""
    criterion: Any = getattr(network(trainer), "criterion", None)
    return {
        "model": trainer.model.state_dict(),
        "ema": trainer.ema.ema.state_dict(),
        "updates": trainer.ema.updates,
        "optimizer": trainer.optimizer.state_dict(),
        "scaler": trainer.scaler.state_dict(),
        "best_fitness": trainer.best_fitness,
        "stopper": dict(vars(trainer.stopper)),
        "epoch": trainer.epoch,
        "criterion": criterion.updates if hasattr(criterion, "update") else None,
        "gradients": [parameter.grad for parameter in parameters(trainer)],
    }


def unsupported_loss(trainer: Any) -> str | None:
    """Return what a loss lacks whose weights depend on the epoch; it is there when the first epoch has ended."""
    criterion = getattr(network(trainer), "criterion", None)
    if not hasattr(criterion, "update"):
        return None
    return unsupported(criterion, ("updates",)) or unsupported(network(trainer), ("init_criterion",))


def take_over(trainer: Any, state: dict[str, Any]) -> None:
    """Let a trainer go on with what `state` has returned, but for the gradients, which it clears when it begins."""
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
    if state["criterion"] is not None:
        trained = network(trainer)
        trained.criterion = trained.init_criterion()
        trained.criterion.updates = state["criterion"] - 1
        trained.criterion.update()


def preprocess_by(trainer: Any, note: Callable[[dict[str, Any]], None]) -> None:
    """Call `note` with each batch before it is preprocessed."""
    preprocess = trainer.preprocess_batch

    def note_and_preprocess(batch: dict[str, Any]) -> Any:
        note(batch)
        return preprocess(batch)

    trainer.preprocess_batch = note_and_preprocess


def work(trainer: Any) -> dict[str, int]:
    """Return what the trainer has really done."""
    return {
        "batch": int(trainer.batch_size),
        "imgsz": int(np.max(trainer.args.imgsz)),
        "images": len(trainer.train_loader.dataset),
    }


def layers(yolo: Any, rows: Iterable[int]) -> list[Any]:
    """Return some layers of the network of a `YOLO`, by the indices of their rows."""
    return [yolo.model.model[row] for row in rows]


# The validator


def validated_task(validator: Any) -> str:
    """Return the task."""
    return str(validator.args.task)


def is_training(validator: Any) -> bool:
    """Return whether the validation is that of an epoch."""
    return bool(validator.training)


def validated_images(validator: Any) -> int:
    """Return the number of images."""
    return len(validator.dataloader.dataset)


def sampler(validator: Any) -> Any:
    """Return what chooses a process's images; None where there is none."""
    return getattr(validator.dataloader, "sampler", None)


def metrics(validator: Any) -> dict[str, float]:
    """Return the metrics of a validation that has ended."""
    found: dict[str, float] = validator.metrics.results_dict
    return found


def statistics(validator: Any) -> dict[str, Any] | None:
    """Return the lists, one entry an image, that Ultralytics computes its metrics from; None in releases without."""
    found = getattr(validator.metrics, "stats", None) or getattr(validator, "stats", None)
    return found if isinstance(found, dict) else None


def unsupported_batch(validator: Any, preds: Any, batch: dict[str, Any]) -> str | None:
    """Return what the record of a batch needs and this release lacks; before the metrics are updated with it."""
    of, task = type(validator).__name__, validated_task(validator)
    lacking = next((key for key in (("img", "cls") if task == "classify" else _BATCH) if key not in batch), None)
    if lacking is not None:
        return f"{of}.update_metrics(batch[{lacking!r}])"
    if task == "classify":
        return None
    if any(isinstance(pred, dict) and "bboxes" not in pred for pred in preds):
        return f"{of}.update_metrics(preds['bboxes'])"
    found = statistics(validator)
    if found is None:
        return f"{of}.metrics.stats"
    lacking = next((key for key in ("conf", "pred_cls", "target_cls", CORRECT[task]) if key not in found), None)
    return None if lacking is None else f"{of}.metrics.stats[{lacking!r}]"


def update_by(validator: Any, update_and_record: Callable[[Any, Any, dict[str, Any]], None]) -> None:
    """Call `update_and_record` in the place of `update_metrics`, with it, the predictions and the batch."""
    update = validator.update_metrics
    validator.update_metrics = lambda preds, batch: update_and_record(update, preds, batch)


def gather_by(validator: Any, gather_parts: Callable[[], None]) -> None:
    """Call `gather_parts` before the first of several processes is given the others' statistics.

    In releases without `gather_stats` the first validates all images.
    """
    gather = getattr(validator, "gather_stats", None)
    if gather is None:
        return

    def gather_all() -> None:
        gather_parts()
        gather()

    validator.gather_stats = gather_all
