"""Plans a comparison: the runs that it consists of, and what all of them are given."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from yolo_focal.comparison.launch.devices import Slot
from yolo_focal.comparison.store.files import read_json, write_json
from yolo_focal.comparison.store.run_folder import METRICS, SCHEMA
from yolo_focal.comparison.store.times import PACKAGES
from yolo_focal.comparison.study import ablation, train_arguments
from yolo_focal.comparison.study import control as controls
from yolo_focal.comparison.study import dataset as datasets
from yolo_focal.comparison.study import folds as cross_validation
from yolo_focal.comparison.study import models as found_models
from yolo_focal.comparison.study.dataset import Dataset
from yolo_focal.comparison.study.models import Model
from yolo_focal.comparison.study.request import Options, Request, Whole
from yolo_focal.comparison.study.screened import Screening
from yolo_focal.comparison.study.unchanged import PLAN, check_same, has_begun

_SHARE_OF_LAST = 10  # the last tenth of the epochs is scored, and no fewer than this many:
_FEWEST_LAST = 3
_MOST_WORKERS = 8  # data loader workers of a run, Ultralytics' default


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A comparison.

    Attributes:
        folder: Where its runs and its report go.
        models: The models, in the order given; the others are compared with the first.
        dataset: The data.
        options: What is asked for.
        user_arguments: The arguments of `yolo train` that the user has given.
        arguments: Every argument of `yolo train` that a run is given.
        per_run: `workers`, `threads` and `last_epochs` of each run, as they were when the comparison began.
        looks: Numbers of seeds at which a verdict was given; the last one is that of the next verdict.
        test: Whether the verdict is about the test images.
        slots: The places in which runs are trained.
        fingerprint: Digest of all that changes results, the model and the seed aside.
        screening: How the models were chosen; None without a budget.
        whole: The comparison over data sets that it is part of; None if it is one by itself.
    """

    folder: Path
    models: list[Model]
    dataset: Dataset
    options: Options
    user_arguments: dict[str, Any]
    arguments: dict[str, Any]
    per_run: dict[str, int]
    looks: list[int]
    test: bool
    slots: list[Slot]
    fingerprint: str
    screening: Screening | None = None
    whole: Whole | None = None

    @property
    def labels(self) -> list[str]:
        """What the models are called."""
        return [model.label for model in self.models]

    @property
    def task(self) -> str:
        """The task of all the models."""
        return self.models[0].task

    @property
    def scored_split(self) -> str:
        """The split that the verdict is about; in a cross-validation the training images, which the folds are of."""
        return "train" if self.options.folds else "test" if self.test else "val"

    @property
    def metric(self) -> str:
        """The metric that the models are compared by."""
        return METRICS.get(self.task, "fitness")


class Run(NamedTuple):
    """One model trained with one seed, and in a cross-validation without one fold.

    Attributes:
        folder: Where everything about it goes.
        label: What the model is called.
        seed: The seed.
        fold: The fold that is validated on; None without a cross-validation.
        data: The data YAML or folder.
        fingerprint: Digest of all that changes its result.
    """

    folder: Path
    label: str
    seed: int
    fold: int | None
    data: str
    fingerprint: str


Begun = tuple[Plan, list[Run]]  # a comparison and its runs


def begin(folder: Path, request: Request) -> Begun:
    """Begin a comparison in a folder, or go on with the one that was begun there.

    Args:
        folder: Where its runs go.
        request: What was asked for.

    Raises:
        ConfigError: It is not what the comparison in the folder was begun with.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if request.options.control:
        control = controls.write_control(folder, request.models, request.dataset, request.arguments)
        request = replace(request, models=[*request.models, *control])
    options, arguments, given = request.options, request.arguments, conditions(request)
    threads = request.places.threads
    per_run = {
        "workers": int(arguments.get("workers", min(_MOST_WORKERS, threads))),
        "threads": threads,
        "last_epochs": min(arguments["epochs"], max(_FEWEST_LAST, arguments["epochs"] // _SHARE_OF_LAST)),
    }
    known = read_json(folder / PLAN) if has_begun(folder) else None
    looks = [options.seeds]
    if known is not None:  # a file that was cut off is as none: each run keeps a digest of the conditions
        check_same(known, given, request, folder)
        per_run = known["per_run"]  # the same results, whatever runs side by side now
        looks = sorted({*known["looks"], options.seeds})
    slots = request.places.slots(per_run["threads"])
    write_json(
        folder / PLAN,
        {"schema": SCHEMA, "conditions": given, "per_run": per_run, "looks": looks, "places": len(slots)},
    )
    arguments = {**arguments, "workers": per_run["workers"]}
    fingerprint = digest([{key: value for key, value in given.items() if key not in {"models", "scored"}}, per_run])
    plan = Plan(
        folder=folder,
        models=request.models,
        dataset=request.dataset,
        options=options,
        user_arguments=request.user_arguments,
        arguments=arguments,
        per_run=per_run,
        looks=looks,
        test=request.test,
        slots=slots,
        fingerprint=fingerprint,
        screening=request.screening,
        whole=request.whole,
    )
    return plan, list(_runs(plan))


def conditions(request: Request) -> dict[str, Any]:
    """Return all that changes results, the seeds aside."""
    options, weights = request.options, request.arguments["pretrained"]
    return {
        "models": [{"name": model.name, "content": model.content} for model in request.models],
        "data": datasets.digest(request.dataset),
        "arguments": {
            key: train_arguments.plain(value)
            for key, value in sorted(request.arguments.items())
            if key not in {*train_arguments.WITHOUT_EFFECT, "workers", "pretrained"}
        },
        "pretrained": found_models.digest(weights) if isinstance(weights, str) else weights,
        "folds": options.folds,
        "scored": "test" if request.test else "val",
        # Left out by default, as older plans have no such entries. Each GPU normalises its own share of a batch.
        **({"gpus_per_run": options.gpus_per_run} if options.gpus_per_run > 1 else {}),
        **({"seed": options.seed} if options.seed else {}),
        "versions": {package: version(package) for package in PACKAGES},
    }


def _runs(plan: Plan) -> Iterator[Run]:
    for seed in range(plan.options.seed, plan.options.seed + plan.options.seeds):
        files: list[Any] = [plan.dataset.name]
        if plan.options.folds:
            files = cross_validation.write_folds(plan.dataset, plan.options.folds, seed, plan.folder / "folds")
        for fold, data in enumerate(files):
            for model in plan.models:
                number = fold if plan.options.folds else None
                name = f"seed{seed}" if number is None else f"seed{seed}-fold{fold}"
                own = [model.content, ablation.of_model(plan.models, model.label)]
                fingerprint = digest([plan.fingerprint, *own, seed, number, plan.test])
                yield Run(plan.folder / model.label / name, model.label, seed, number, str(data), fingerprint)


def digest(value: Any) -> str:
    """Return a digest of what JSON can hold."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]
