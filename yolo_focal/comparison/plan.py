"""Plans a comparison: checks it before the first run starts, and against what its folder was begun with."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Callable, NamedTuple

from yolo_focal.comparison import arguments as train_arguments
from yolo_focal.comparison import collection, devices, halving
from yolo_focal.comparison import dataset as datasets
from yolo_focal.comparison import folds as cross_validation
from yolo_focal.comparison import models as found_models
from yolo_focal.comparison.dataset import Dataset
from yolo_focal.comparison.devices import Places, Slot
from yolo_focal.comparison.files import read_json, write_json
from yolo_focal.comparison.measuring import PACKAGES
from yolo_focal.comparison.models import Model
from yolo_focal.comparison.phrasing import LANGUAGES
from yolo_focal.comparison.task import METRICS, SCHEMA
from yolo_focal.errors import ConfigError

PLAN = "plan.json"
_KNOWN = "files.json"
_SHARE_OF_LAST = 10  # the last tenth of the epochs is scored, and no fewer than this many:
_FEWEST_LAST = 3
_MOST_WORKERS = 8  # data loader workers of a run, Ultralytics' default


class Options(NamedTuple):
    """What a comparison is asked for beside models, data and arguments of `yolo train`.

    Attributes:
        seeds: Number of seeds.
        parallel: Number of runs side by side; None for one on each named GPU, or one.
        folds: Number of folds of a cross-validation; 0 for none.
        split: "test" or "val", the images that the verdict is about; None for test images where there are any.
        margin: A difference that does not matter, as a share of 1; None for none.
        all_pairs: Compare every model with every other, and not only with the first.
        snapshot_every: Epochs from one snapshot of a run to the next.
        lang: Language of the report, "en" or "zh".
        per_device: Number of runs side by side on each named GPU.
        gpus_per_run: Number of GPUs that a run's batches are shared among.
        budget: What all runs together may take, such as "12h"; None for no limit.
        seed: The first of the seeds; the others follow it.
    """

    seeds: int = 5
    parallel: int | None = None
    folds: int = 0
    split: str | None = None
    margin: float | None = None
    all_pairs: bool = False
    snapshot_every: int = 1
    lang: str = "en"
    per_device: int = 1
    gpus_per_run: int = 1
    budget: str | None = None
    seed: int = 0

    @property
    def runs_of_seed(self) -> int:
        """Number of runs of each model with a seed: one for each fold, or one."""
        return max(self.folds, 1)


class Rung(NamedTuple):
    """A screening of models by short trainings.

    Attributes:
        epochs: Length of the trainings.
        scores: Each model's score on the validation images; None if it has none.
        dropped: Labels of the models that did not go on.
    """

    epochs: int
    scores: dict[str, float | None]
    dropped: list[str]


class Screening(NamedTuple):
    """How the models of a comparison with a budget were chosen.

    Attributes:
        models: What was asked for.
        budget: What all runs together may take.
        seed: The seed of the short trainings.
        rungs: The screenings, each of the models that the one before has left.
    """

    models: list[str]
    budget: str
    seed: int
    rungs: list[Rung]

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {**self._asdict(), "rungs": [rung._asdict() for rung in self.rungs]}


class Plan(NamedTuple):
    """A comparison.

    Attributes:
        folder: Where its runs and its report go.
        models: The models, in the order given; the others are compared with the first.
        dataset: The data.
        options: What is asked for.
        given: The arguments of `yolo train` that the user has given.
        arguments: Every argument of `yolo train` that a run is given.
        numbers: `workers`, `threads` and `last_epochs` of each run, as they were when the comparison began.
        looks: Numbers of seeds at which a verdict was given; the last one is that of the next verdict.
        test: Whether the verdict is about the test images.
        slots: The places in which runs are trained.
        identity: Digest of all that changes results, the model and the seed aside.
        screening: How the models were chosen; None without a budget.
    """

    folder: Path
    models: list[Model]
    dataset: Dataset
    options: Options
    given: dict[str, Any]
    arguments: dict[str, Any]
    numbers: dict[str, int]
    looks: list[int]
    test: bool
    slots: list[Slot]
    identity: str
    screening: Screening | None = None

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
        identity: Digest of all that changes its result.
    """

    folder: Path
    label: str
    seed: int
    fold: int | None
    data: str
    identity: str


class Request(NamedTuple):
    """What was asked for, checked.

    Attributes:
        models: The models.
        dataset: The data.
        options: What is asked for beside them.
        given: The arguments of `yolo train` that the user has given.
        arguments: Every argument of `yolo train` that a run is given.
        test: Whether the verdict is about the test images.
        places: The places that there are for runs.
        screening: How the models were chosen; None without a budget.
    """

    models: list[Model]
    dataset: Dataset
    options: Options
    given: dict[str, Any]
    arguments: dict[str, Any]
    test: bool
    places: Places
    screening: Screening | None = None


def check(
    data: str,
    models: Sequence[str],
    options: Options,
    arguments: dict[str, Any],
    find_places: Callable[[Any, int | None, int, int], Places] = devices.on_this_machine,
) -> Request:
    """Check what is asked for; nothing is written but what Ultralytics downloads.

    Args:
        data: The data set.
        models: Model YAMLs or checkpoints.
        options: What is asked for beside them.
        arguments: The arguments of `yolo train` that the user has given.
        find_places: Returns the places for runs, given `device`, `parallel`, `per_device` and `gpus_per_run`.

    Raises:
        ConfigError: Something that cannot work.
    """
    models = collection.expand(models)
    _check_options(models, options, arguments)
    places = find_places(arguments.get("device"), options.parallel, options.per_device, options.gpus_per_run)
    every = train_arguments.check(arguments)
    if every["rect"] and options.gpus_per_run > 1:
        raise ConfigError("rect=True and gpus_per_run=: write one of them; processes that share batches shuffle them")
    if every["batch"] % options.gpus_per_run:
        raise ConfigError(
            f"batch={every['batch']}: gpus_per_run={options.gpus_per_run} GPUs share each batch; write a multiple of it"
        )
    found = found_models.find(models)
    for model in found:
        if model.task != found[0].task:
            raise ConfigError(
                f"models=: {found[0].label} is for {found[0].task}, {model.label} for {model.task}; compare models of "
                "one task"
            )
    every["pretrained"] = found_models.weights(arguments.get("pretrained", True))
    if isinstance(every["freeze"], int):
        found = found_models.with_same_layers_frozen(found, every["freeze"], every["pretrained"])
    dataset = datasets.read(str(data), found[0].task)
    return Request(found, dataset, options, arguments, every, _is_about_test(dataset, options), places)


def begin(folder: Path, request: Request, whole: Path | None = None) -> tuple[Plan, list[Run]]:
    """Begin a comparison in a folder, or go on with the one that was begun there.

    Args:
        folder: Where its runs go.
        request: What was asked for.
        whole: The folder of the comparison that this is a part of, which keeps the digests of the data.

    Raises:
        ConfigError: It is not what the comparison in the folder was begun with.
    """
    folder.mkdir(parents=True, exist_ok=True)
    options, every = request.options, request.arguments
    threads = request.places.threads
    numbers = {
        "workers": int(request.given.get("workers", min(_MOST_WORKERS, threads))),
        "threads": threads,
        "last_epochs": min(every["epochs"], max(_FEWEST_LAST, every["epochs"] // _SHARE_OF_LAST)),
    }
    weights = every["pretrained"]
    facts = {
        "models": [{"name": model.name, "content": model.content} for model in request.models],
        "data": datasets.digest(request.dataset, (whole or folder) / _KNOWN),
        "arguments": {
            key: train_arguments.plain(value)
            for key, value in sorted(every.items())
            if key not in {*train_arguments.WITHOUT_EFFECT, "workers", "pretrained"}
        },
        "pretrained": found_models.digest(weights) if isinstance(weights, str) else weights,
        "folds": options.folds,
        # Left out by default, as older plans have no such entries. Each GPU normalises its own share of a batch.
        **({"gpus_per_run": options.gpus_per_run} if options.gpus_per_run > 1 else {}),
        **({"seed": options.seed} if options.seed else {}),
        "versions": {package: version(package) for package in PACKAGES},
    }
    known = read_json(folder / PLAN)
    looks = [options.seeds]
    if known is not None:  # a file that was cut off is as none: each run keeps a digest of the facts
        _check_same(known, facts, request, folder)
        numbers = known["numbers"]  # the same results, whatever runs side by side now
        looks = sorted({*known["looks"], options.seeds})
    slots = request.places.slots(numbers["threads"])
    write_json(
        folder / PLAN, {"schema": SCHEMA, "facts": facts, "numbers": numbers, "looks": looks, "places": len(slots)}
    )
    every = {**every, "workers": numbers["workers"]}
    identity = _digest([{key: value for key, value in facts.items() if key != "models"}, numbers])
    plan = Plan(
        folder,
        request.models,
        request.dataset,
        options,
        request.given,
        every,
        numbers,
        looks,
        request.test,
        slots,
        identity,
        request.screening,
    )
    return plan, list(_runs(plan))


def _check_options(models: Sequence[str], options: Options, arguments: dict[str, Any]) -> None:
    if len(models) < 2:
        raise ConfigError(
            f"models={','.join(map(str, models))}: write two or more, such as models=yolov8n.yaml,yolov8n-focal.yaml"
        )
    from_one = ("seeds", "parallel", "snapshot_every", "per_device", "gpus_per_run")
    for name, least in {**dict.fromkeys(from_one, 1), "folds": 0, "seed": 0}.items():
        value = getattr(options, name)
        if value is None and name == "parallel":
            continue
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ConfigError(f"{name}={value}: write an integer of at least {least}, such as {name}=5")
    if options.gpus_per_run > 1 and os.name != "posix":
        raise ConfigError(f"gpus_per_run={options.gpus_per_run}: it needs Linux; leave it out")
    if options.per_device > 1 and options.gpus_per_run > 1:
        raise ConfigError("per_device= and gpus_per_run=: write one of them; a run of several GPUs has them for itself")
    if options.split not in {None, "val", "test"}:
        raise ConfigError(f"split={options.split}: write split=test or split=val")
    if options.lang not in LANGUAGES:
        raise ConfigError(f"lang={options.lang}: write {' or '.join(f'lang={lang}' for lang in LANGUAGES)}")
    margin = options.margin
    if margin is not None and (isinstance(margin, bool) or not isinstance(margin, float) or not 0 < margin < 1):
        raise ConfigError(f"margin={margin}: write a difference that does not matter, such as margin=0.005")
    if options.folds and arguments.get("time"):
        raise ConfigError("folds= and time=: write one of them")
    if options.budget is not None:
        halving.parse(options.budget)
        if arguments.get("time"):
            raise ConfigError("budget= and time=: write one of them")


def _is_about_test(dataset: Dataset, options: Options) -> bool:
    if options.folds:
        if options.split == "test":
            raise ConfigError("split=test: a cross-validation is scored on the fold that was left out; leave one out")
        return False
    if options.split == "test" and "test" not in dataset.splits:
        raise ConfigError(f"split=test: {dataset.name} has no test images; add test: to it, or leave split= out")
    return "test" in dataset.splits and options.split != "val"


def _runs(plan: Plan) -> Iterator[Run]:
    for seed in range(plan.options.seed, plan.options.seed + plan.options.seeds):
        files: list[Any] = [plan.dataset.name]
        if plan.options.folds:
            files = cross_validation.write_folds(plan.dataset, plan.options.folds, seed, plan.folder / "folds")
        for fold, data in enumerate(files):
            for model in plan.models:
                number = fold if plan.options.folds else None
                name = f"seed{seed}" if number is None else f"seed{seed}-fold{fold}"
                identity = _digest([plan.identity, model.content, seed, number, plan.test])
                yield Run(plan.folder / model.label / name, model.label, seed, number, str(data), identity)


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _check_same(known: Any, facts: dict[str, Any], request: Request, folder: Path) -> None:
    """Refuse what a comparison was not begun with; more seeds may be added."""
    if not isinstance(known, dict) or known.get("schema") != SCHEMA:
        raise ConfigError(
            f"{folder / PLAN}: it is not what this release of compare writes; write name= with another name"
        )
    changes = list(_changes(known["facts"], facts))
    workers = (known["numbers"]["workers"], request.given.get("workers"))
    if workers[1] not in {None, workers[0]}:
        changes.append(("workers", *workers))
    refuse_changes(folder, changes)
    most, seeds = max(known["looks"]), request.options.seeds
    if seeds < most:
        raise ConfigError(f"{folder} was begun with seeds={most}, and now it is {seeds}: write {most} or more")


def refuse_changes(folder: Path, changes: Iterable[tuple[str, Any, Any]]) -> None:
    """Refuse the first thing that a comparison was not begun with.

    Args:
        folder: The comparison's folder.
        changes: What has changed, and its values then and now.

    Raises:
        ConfigError: Something has changed.
    """
    for what, before, after in changes:
        raise ConfigError(
            f"{folder} was begun with {what}={before}, and now it is {after}: write name= with another name than "
            f"{folder.name}, or what it was begun with"
        )


def _changes(known: dict[str, Any], now: dict[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    names = [",".join(model["name"] for model in facts["models"]) for facts in (known, now)]
    if names[0] != names[1]:
        yield "models", names[0], names[1]
    for before, after in zip(known["models"], now["models"]):
        if before != after:
            yield f"models: {before['name']}", "the file and modules as they were", "others of that name"
    if known["data"] != now["data"]:
        yield "data", "its images and labels as they were", "others"
    for key in sorted({*known["arguments"], *now["arguments"]}):
        before, after = (facts["arguments"].get(key) for facts in (known, now))
        if before != after:
            yield key, before, after
    if known["pretrained"] != now["pretrained"]:
        yield "pretrained", "the file as it was", "another one"
    if known["folds"] != now["folds"]:
        yield "folds", known["folds"], now["folds"]
    for key, default in (("gpus_per_run", 1), ("seed", 0)):
        before, after = (facts.get(key, default) for facts in (known, now))
        if before != after:
            yield key, before, after
    for package, before in known["versions"].items():
        if before != now["versions"].get(package):
            yield package, before, now["versions"].get(package)
