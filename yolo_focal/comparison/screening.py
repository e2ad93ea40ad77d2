"""Chooses the models of a comparison with a budget, by short trainings with a seed that has no part in the verdict."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean

from ultralytics.utils import LOGGER

from yolo_focal.comparison.report.analysis import SCORES
from yolo_focal.comparison.store.files import read_json, write, write_json
from yolo_focal.comparison.store.progress import in_words
from yolo_focal.comparison.store.run_folder import TIMES
from yolo_focal.comparison.store.run_result import RunResult
from yolo_focal.comparison.store.times import read_times
from yolo_focal.comparison.study import halving
from yolo_focal.comparison.study.halving import Budget, Trial
from yolo_focal.comparison.study.plan import Begun, Plan, Run, begin
from yolo_focal.comparison.study.request import Request
from yolo_focal.comparison.study.results import read_results, table
from yolo_focal.comparison.study.screened import Rung, Screening
from yolo_focal.comparison.study.unchanged import refuse_changes
from yolo_focal.errors import ConfigError

Train = Callable[[Path, Sequence[Begun]], None]

FOLDER, _FILE = "screening", "screening.json"
_DISTANCE = 1000  # from the comparison's first seed to that of the short trainings; no comparison has so many seeds


def screen(folder: Path, requests: Mapping[str, Request], train: Train) -> dict[str, Request]:
    """Return the requests with the models that the budget is spent on; what was chosen once stays chosen.

    Args:
        folder: The whole comparison's.
        requests: What was asked for, with a budget, by data set; one without a name where there is one data set.
        train: Trains the runs that have not finished.

    Raises:
        ConfigError: The budget is too small, another one was given before, or the first model cannot be trained.
    """
    request = next(iter(requests.values()))
    names = [model.name for model in request.models]
    budget = halving.parse(request.options.budget)
    known = _read(folder / _FILE)
    if known is None:
        known = Screening(names, budget.text, _seed(request), _choose(folder, requests, budget, train))
        write_json(folder / _FILE, known.as_json())
    asked = (("models", ",".join(known.models), ",".join(names)), ("budget", known.budget, budget.text))
    refuse_changes(folder, [one for one in asked if one[1] != one[2]], folder.name)
    dropped = {label for rung in known.rungs for label in rung.dropped}
    kept = [model for model in request.models if model.label not in dropped]
    LOGGER.info(f"The budget of {budget.text} goes to {', '.join(model.label for model in kept)}")
    return {label: replace(one, models=kept, screening=known) for label, one in requests.items()}


def _read(file: Path) -> Screening | None:
    """Return what was chosen; None if nothing was, or the file is cut off."""
    content = read_json(file)
    if not isinstance(content, dict):
        return None
    return Screening(**{**content, "rungs": [Rung(**rung) for rung in content["rungs"]]})


def _choose(folder: Path, requests: Mapping[str, Request], budget: Budget, train: Train) -> list[Rung]:
    request, sets = next(iter(requests.values())), len(requests)
    runs, epochs = request.options.seeds * request.options.runs_of_seed, request.arguments["epochs"]
    lengths = halving.lengths(epochs)
    labels, left, rungs = [model.label for model in request.models], budget.amount, []
    if not budget.is_time:  # what an epoch costs is known then
        least = sets * (len(labels) * lengths[0] + 2 * runs * epochs)
        if left < least:
            raise ConfigError(
                f"budget={budget.text}: {len(labels)} models of {lengths[0]} epochs, and then two of them with {runs} "
                f"runs of {epochs}{_on_each(sets)}, take {least:,} epochs; write budget={least}epochs or more"
            )
    for length, following in zip(lengths, [*lengths[1:], None], strict=True):
        LOGGER.info(f"Screening: {len(labels)} models of {length} epochs with seed {_seed(request)}{_on_each(sets)}")
        # A folder's name is that of its place in the storage of a cluster, which comparisons may share.
        short = folder / FOLDER / f"{folder.name}-{length}-epochs"
        begun = [begin(short / label, _short(one, labels, length)) for label, one in requests.items()]
        train(short, begun)
        trials = _over_sets([_trials(plan, trained, budget) for plan, trained in begun], short)
        left -= sum(trial.cost(1, length) for trial in trials.values())
        decision = halving.decide(trials, runs, epochs, left, following)
        if len(decision.kept) < 2:
            _refuse(budget, left, trials, runs, epochs, sets)
        scores = {label: trials[label].score if label in trials else None for label in labels}
        rungs.append(Rung(length, scores, [label for label in labels if label not in decision.kept]))
        labels = [label for label in labels if label in decision.kept]
        if decision.is_final:
            break
    return rungs


def _seed(request: Request) -> int:
    """Return the seed of the short trainings, which has no part in the verdict."""
    return request.options.seed + _DISTANCE


def _short(request: Request, labels: Sequence[str], epochs: int) -> Request:
    """Return the request of a screening, which is scored on the validation images."""
    options = request.options._replace(seeds=1, seed=_seed(request), folds=0, control=False)
    models = [model._replace(rows=()) for model in request.models if model.label in labels]  # no layer is looked at
    arguments = {**request.arguments, "epochs": epochs}
    return replace(request, models=models, options=options, arguments=arguments, test=False)


def _trials(plan: Plan, runs: Sequence[Run], budget: Budget) -> dict[str, Trial]:
    """Return the trials of the models that could be trained and scored, and write a table of all."""
    outcomes, trials = read_results(plan, runs), {}
    write(plan.folder / "results.csv", table(plan, outcomes).write_csv())
    for outcome in outcomes:
        score = outcome.result.scores.get(SCORES[0]) if outcome.result else None
        if outcome.result is not None and score is not None and math.isfinite(score):
            trials[outcome.run.label] = Trial(score, *_costs(outcome.run, outcome.result, len(plan.slots), budget))
    first = outcomes[0]
    if first.run.label not in trials:
        raise ConfigError(
            f"{first.run.label}: it is what the others are compared with, and it has no score after "
            f"{plan.arguments['epochs']} epochs: {first.failure or 'its score is not a number'}"
        )
    if len(trials) < 2:
        raise ConfigError(f"{plan.folder}: no model but {first.run.label} could be trained: {outcomes[1].failure}")
    return trials


def _over_sets(of_sets: Sequence[Mapping[str, Trial]], folder: Path) -> dict[str, Trial]:
    """Return the trials of the models that have a score on every data set; their costs are those of all sets.

    A model's score is its mean over the sets, which puts the models in the order of their mean difference to the first
    one: that is what the verdict is about. Mean ranks would be something else, by which a difference counts as much on
    a set where it is noise as where it is large.

    Raises:
        ConfigError: Fewer than two models have.
    """
    labels = [label for label in of_sets[0] if all(label in trials for trials in of_sets)]
    if len(labels) < 2:
        raise ConfigError(f"{folder}: no model but {labels[0]} could be trained on every data set")
    by_label = {label: [trials[label] for trials in of_sets] for label in labels}
    return {
        label: Trial(fmean(one.score for one in of), sum(one.startup for one in of), sum(one.epoch for one in of))
        for label, of in by_label.items()
    }


def _on_each(sets: int) -> str:
    return f" on each of {sets} data sets" if sets > 1 else ""


def _costs(run: Run, result: RunResult, places: int, budget: Budget) -> tuple[float, float]:
    """Return what a run costs before its first epoch and for each epoch; runs side by side share the time."""
    if not budget.is_time:
        return 0.0, 1.0
    return read_times(run.folder / TIMES).startup / places, result.seconds / result.work.epochs / places


def _refuse(budget: Budget, left: float, trials: Mapping[str, Trial], runs: int, epochs: int, sets: int) -> None:
    first, *others = trials
    cheapest = min(others, key=lambda label: trials[label].cost(runs, epochs))
    needed = trials[first].cost(runs, epochs) + trials[cheapest].cost(runs, epochs)
    least = budget.amount - left + needed
    text = f"{math.ceil(least / 360) / 10:g}h" if budget.is_time else f"{math.ceil(least)}epochs"
    rest, need = (in_words(max(0, x)) if budget.is_time else f"{x:,.0f} epochs" for x in (left, needed))
    raise ConfigError(
        f"budget={budget.text}: {rest} of it are left after the screening, and {runs} runs of {epochs} epochs of "
        f"{first} and of {cheapest}{_on_each(sets)} take about {need}; write budget={text} or more, and what has been "
        "trained is kept"
    )
