"""What a comparison is asked for, checked before anything is written."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from yolo_focal.comparison.launch import devices
from yolo_focal.comparison.launch.devices import Places
from yolo_focal.comparison.study import control, halving, packaged_models, train_arguments
from yolo_focal.comparison.study import dataset as datasets
from yolo_focal.comparison.study import models as found_models
from yolo_focal.comparison.study.dataset import Dataset
from yolo_focal.comparison.study.models import Model
from yolo_focal.comparison.study.screened import Screening
from yolo_focal.errors import ConfigError

LANGUAGES = ("en", "zh")


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
        control: Add the first model at the width that costs what the dearest of the others costs.
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
    control: bool = False

    @property
    def runs_of_seed(self) -> int:
        """Number of runs of each model with a seed: one for each fold, or one."""
        return max(self.folds, 1)


class Whole(NamedTuple):
    """A comparison over data sets, as each of its data sets knows it.

    Attributes:
        name: Name of its folder.
        data: What the user wrote for each data set.
    """

    name: str
    data: list[str]


@dataclass(frozen=True, kw_only=True)
class Request:
    """What was asked for, checked.

    Attributes:
        models: The models.
        dataset: The data.
        options: What is asked for beside them.
        user_arguments: The arguments of `yolo train` that the user has given.
        arguments: Every argument of `yolo train` that a run is given.
        test: Whether the verdict is about the test images.
        places: The places that there are for runs.
        screening: How the models were chosen; None without a budget.
        whole: The comparison over data sets that it is part of; None if it is one by itself.
    """

    models: list[Model]
    dataset: Dataset
    options: Options
    user_arguments: dict[str, Any]
    arguments: dict[str, Any]
    test: bool
    places: Places
    screening: Screening | None = None
    whole: Whole | None = None


def check(
    data: str,
    models: str | Sequence[str],
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
    models = packaged_models.expand(models)
    given = train_arguments.given(arguments)
    _check_options(models, options, given)
    places = find_places(given.get("device"), options.parallel, options.per_device, options.gpus_per_run)
    all_arguments = train_arguments.check(given)
    if all_arguments["rect"] and options.gpus_per_run > 1:
        raise ConfigError("rect=True and gpus_per_run=: write one of them; processes that share batches shuffle them")
    if all_arguments["batch"] % options.gpus_per_run:
        raise ConfigError(
            f"batch={all_arguments['batch']}: gpus_per_run={options.gpus_per_run} GPUs share each batch; write a "
            "multiple of it"
        )
    found = found_models.find(models)
    for model in found:
        if model.task != found[0].task:
            raise ConfigError(
                f"models=: {found[0].label} is for {found[0].task}, {model.label} for {model.task}; compare models of "
                "one task"
            )
    if options.control:
        control.check(found[0])
    pretrained = given.get("pretrained", True)
    all_arguments["pretrained"] = found_models.weights(pretrained)
    _check_starts(found, pretrained)
    if isinstance(all_arguments["freeze"], int):
        _check_weights_to_freeze(found, all_arguments["freeze"], pretrained)
        found = found_models.with_same_layers_frozen(found, all_arguments["freeze"], all_arguments["pretrained"])
    dataset = datasets.read(str(data), found[0].task)
    return Request(
        models=found,
        dataset=dataset,
        options=options,
        user_arguments=arguments,
        arguments=all_arguments,
        test=_is_about_test(dataset, options),
        places=places,
    )


def on(request: Request, data: str) -> Request:
    """Return what was asked for, of another data set.

    Raises:
        ConfigError: There is no such data set, or not as it was asked for.
    """
    dataset = datasets.read(data, request.models[0].task)
    return replace(request, dataset=dataset, test=_is_about_test(dataset, request.options))


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
    for name in ("control", "all_pairs"):
        if not isinstance(getattr(options, name), bool):
            raise ConfigError(f"{name}={getattr(options, name)}: write {name}=True or {name}=False")
    margin = options.margin
    if margin is not None and (isinstance(margin, bool) or not isinstance(margin, float) or not 0 < margin < 1):
        raise ConfigError(f"margin={margin}: write a difference that does not matter, such as margin=0.005")
    if options.folds and arguments.get("time"):
        raise ConfigError("folds= and time=: write one of them")
    if options.budget is not None:
        halving.parse(options.budget)
        if arguments.get("time"):
            raise ConfigError("budget= and time=: write one of them")


def _check_starts(models: Sequence[found_models.Model], pretrained: Any) -> None:
    """Check that no checkpoint's weights would be left out: Ultralytics takes those of `pretrained=` in their place.

    Raises:
        ConfigError: A model is a checkpoint, and other weights are named, or none.
    """
    own = next((model.name for model in models if Path(model.file).suffix == ".pt"), None)
    if own is not None and (pretrained is False or isinstance(pretrained, (str, Path))):
        raise ConfigError(
            f"models={own} and pretrained={pretrained}: the weights in {own} would be left out; leave pretrained= out, "
            "and write each model as a checkpoint with the weights that it starts from"
        )


def _check_weights_to_freeze(models: Sequence[found_models.Model], freeze: int, pretrained: Any) -> None:
    """Check that no layer would be frozen as it was drawn at random.

    Raises:
        ConfigError: A model starts from random weights.
    """
    fresh = next((model.name for model in models if Path(model.file).suffix != ".pt"), None)
    if freeze and fresh is not None and not isinstance(pretrained, (str, Path)):
        raise ConfigError(
            f"freeze={freeze}: {fresh} starts from random weights, and its first layers would stay random; write "
            "pretrained= with the weights that all models start from, or leave freeze= out"
        )


def _is_about_test(dataset: Dataset, options: Options) -> bool:
    if options.folds:
        if options.split == "test":
            raise ConfigError("split=test: a cross-validation is scored on the fold that was left out; leave one out")
        return False
    if options.split == "test" and "test" not in dataset.splits:
        raise ConfigError(f"split=test: {dataset.name} has no test images; add test: to it, or leave split= out")
    return "test" in dataset.splits and options.split != "val"
