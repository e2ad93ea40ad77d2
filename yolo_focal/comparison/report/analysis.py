"""What the finished runs say of the models: differences over seeds, over images, by class and by size of object."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from yolo_focal.comparison.report import layers
from yolo_focal.comparison.report.layers import PairShares
from yolo_focal.comparison.stats.average_precision import Scorer
from yolo_focal.comparison.stats.bootstrap import ImagesInterval, over_images, resample
from yolo_focal.comparison.stats.holm import compare_all
from yolo_focal.comparison.stats.paired_t import Difference
from yolo_focal.comparison.store.run_folder import TEST, validation_files
from yolo_focal.comparison.store.run_result import RunResult, Work
from yolo_focal.comparison.store.validations import Validation, load_all
from yolo_focal.comparison.study.folds import test_fraction
from yolo_focal.comparison.study.plan import Plan
from yolo_focal.comparison.study.results import RunOutcome, by_class, by_size

# What a run may be scored by, the one of the verdict first where there are no test images.
SCORES = ("mean_of_last", "best", "last")


class Pair(NamedTuple):
    """Two models, of which `other` is compared with `first`."""

    first: str
    other: str


class Analysis(NamedTuple):
    """What the runs say.

    Attributes:
        plan: The comparison.
        score: Which score the verdict is about: "test", or the first of `SCORES`.
        scores: Each model's scores, by seed.
        over_seeds: Each pair's difference over the seeds; None if there is no seed that both finished.
        over_images: Each pair's interval over seeds and images; None if it cannot be told.
        works: What the runs of each model did, as its first finished one says; all of them start from the same weights.
        by_score: The same differences by the other scores.
        by_class: The differences of each class's AP.
        by_size: The differences of the AP of small, medium and large objects.
        layers: Which share of the score the layers carry in which models differ from the first, by their labels.
    """

    plan: Plan
    score: str
    scores: dict[str, dict[int, float]]
    over_seeds: dict[Pair, Difference | None]
    over_images: dict[Pair, ImagesInterval | None]
    works: dict[str, Work]
    by_score: dict[str, dict[Pair, Difference | None]]
    by_class: dict[Pair, dict[str, Difference]]
    by_size: dict[Pair, dict[str, Difference]]
    layers: dict[str, PairShares]


def analyse(plan: Plan, outcomes: Sequence[RunOutcome]) -> Analysis:
    """Compare the models by their finished runs."""
    score = _score(plan)
    finished = {label: _finished(plan, outcomes, label) for label in plan.labels}
    by_score = {
        other: {label: _scores(of_label, other) for label, of_label in finished.items()}
        for other in SCORES
        if other != score
    }
    found = scores(plan, outcomes)
    over_seeds = differences(plan, found)
    return Analysis(
        plan,
        score,
        found,
        _of_shares(over_seeds),
        _over_images(plan, finished, over_seeds),
        works(outcomes),
        {other: _of_shares(differences(plan, of_score)) for other, of_score in by_score.items()},
        {pair: _by_name(plan, pair, finished, by_class) for pair in over_seeds},
        {pair: _by_name(plan, pair, finished, by_size) for pair in over_seeds},
        layers.shares(plan, outcomes),
    )


def standard_deviations(plan: Plan, outcomes: Sequence[RunOutcome]) -> list[float]:
    """Return the standard deviation over the seeds of each pair's difference, where two seeds or more have finished."""
    found = differences(plan, scores(plan, outcomes)).values()
    return [difference.std for difference in found if difference is not None and difference.seeds > 1]


def scores(plan: Plan, outcomes: Sequence[RunOutcome]) -> dict[str, dict[int, float]]:
    """Return each model's scores that the verdict is about, by the number of the seed, or of the seed and fold."""
    return {label: _scores(_finished(plan, outcomes, label), _score(plan)) for label in plan.labels}


def pairs(plan: Plan) -> Iterator[Pair]:
    """Yield the pairs of models that are compared."""
    if plan.options.all_pairs:
        return (Pair(first, other) for first, other in itertools.combinations(plan.labels, 2))
    return (Pair(plan.labels[0], other) for other in plan.labels[1:])


def validations(plan: Plan, folder: Path) -> list[Validation]:
    """Return the validations that a run's score is made of: one on the test images, or those of the last epochs."""
    return load_all([folder / TEST] if plan.test else validation_files(folder))


def _score(plan: Plan) -> str:
    """Return which score the verdict is about."""
    return "test" if plan.test else SCORES[0]


def _finished(plan: Plan, outcomes: Sequence[RunOutcome], label: str) -> dict[int, RunOutcome]:
    """Return a model's finished runs by the number of the seed, or of the seed and fold, counted from 0."""
    folds, first = plan.options.runs_of_seed, plan.options.seed
    return {
        (outcome.run.seed - first) * folds + (outcome.run.fold or 0): outcome
        for outcome in outcomes
        if outcome.run.label == label and outcome.result is not None
    }


def _scores(finished: Mapping[int, RunOutcome], score: str) -> dict[int, float]:
    """Return the scores that are numbers; the others are named among the warnings."""
    found = {number: o.result.scores.get(score) for number, o in finished.items() if o.result is not None}
    return {number: value for number, value in found.items() if value is not None and math.isfinite(value)}


def differences(plan: Plan, found: Mapping[str, Mapping[int, float]]) -> dict[Pair, Difference | None]:
    """Compare the pairs of models by the seeds that both finished, with Holm's correction over all pairs."""
    both = {pair: (found[pair.first], found[pair.other]) for pair in pairs(plan)}
    return compare_all(both, looks(plan), fraction(plan), plan.options.margin)


def _of_shares(found: Mapping[Pair, Difference | None]) -> dict[Pair, Difference | None]:
    return {pair: difference and difference.of_shares() for pair, difference in found.items()}


def works(outcomes: Sequence[RunOutcome]) -> dict[str, Work]:
    """Return what the first finished run of each model did."""
    return {outcome.run.label: outcome.result.work for outcome in reversed(outcomes) if outcome.result is not None}


def looks(plan: Plan) -> list[int]:
    """Return the numbers of runs of each model at which a verdict was given; the last one is that of the next."""
    return [look * plan.options.runs_of_seed for look in plan.looks]


def fraction(plan: Plan) -> float | None:
    """Return the fraction of the training images in a fold; None without a cross-validation."""
    return test_fraction(plan.options.folds) if plan.options.folds else None


def _over_images(
    plan: Plan, finished: Mapping[str, Mapping[int, RunOutcome]], over_seeds: Mapping[Pair, Difference | None]
) -> dict[Pair, ImagesInterval | None]:
    """Return each pair's interval over seeds and images, with the confidence of its corrected interval over seeds.

    It takes records of all runs of both, which hold every image and have Ultralytics' own score.
    """
    # Each image is validated on once in a cross-validation: the folds are other images.
    if plan.options.seeds < 2 or plan.options.folds:
        return dict.fromkeys(over_seeds)
    scorers = {
        label: {number: _records(plan, outcome) for number, outcome in of_label.items()}
        for label, of_label in finished.items()
    }
    recorded = {label: of_label for label, of_label in scorers.items() if all(of_label.values())}
    resampled = dict(zip(recorded, resample([*recorded.values()]), strict=True))
    return {
        pair: over_images(resampled[pair.first], resampled[pair.other], difference.level)
        if difference and recorded.keys() >= {*pair}
        else None
        for pair, difference in over_seeds.items()
    }


def _records(plan: Plan, outcome: RunOutcome) -> list[Scorer]:
    """Return the records that a run's score is made of; [] unless it has all of them."""
    assert outcome.result is not None
    found = validations(plan, outcome.run.folder) if outcome.result.recorded else []
    count = 1 if plan.test else outcome.result.last_epochs
    return [Scorer(validation, plan.task) for validation in found] if len(found) == count else []


def _by_name(
    plan: Plan,
    pair: Pair,
    finished: Mapping[str, Mapping[int, RunOutcome]],
    values: Callable[[Plan, RunResult], Mapping[str, float]],
) -> dict[str, Difference]:
    """Compare two models class by class, or size by size, with Holm's correction over all of them.

    Args:
        plan: The comparison.
        pair: The models.
        finished: Each model's finished runs, by seed.
        values: Returns a result's AP of each class, or of each size of object.
    """
    first, other = (
        _turned({number: values(plan, outcome.result) for number, outcome in finished[label].items() if outcome.result})
        for label in pair
    )
    both = {name: (first[name], other[name]) for name in first if name in other}
    compared = compare_all(both, looks(plan), fraction(plan))
    return {name: difference.of_shares() for name, difference in compared.items() if difference is not None}


def _turned(by_number: Mapping[int, Mapping[str, float]]) -> dict[str, dict[int, float]]:
    names = dict.fromkeys(name for values in by_number.values() for name in values)
    return {name: {number: values[name] for number, values in by_number.items() if name in values} for name in names}
