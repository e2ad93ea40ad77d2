"""What the finished runs on several data sets say of the models: on each set, and over all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import NamedTuple

from yolo_focal.comparison.report.analysis import Pair, differences, pairs, scores
from yolo_focal.comparison.stats import over_sets
from yolo_focal.comparison.stats.over_sets import OverSets
from yolo_focal.comparison.stats.paired_t import Difference
from yolo_focal.comparison.study.plan import Plan
from yolo_focal.comparison.study.registered import Registered
from yolo_focal.comparison.study.results import RunOutcome


class OneSet(NamedTuple):
    """One data set of a comparison.

    Attributes:
        plan: Its own comparison.
        outcomes: What has become of its runs.
        scores: Each model's scores, by seed.
        over_seeds: Each pair's difference over the seeds; None if there is no seed that both finished.
    """

    plan: Plan
    outcomes: Sequence[RunOutcome]
    scores: dict[str, dict[int, float]]
    over_seeds: dict[Pair, Difference | None]

    def mean(self, label: str) -> float | None:
        """Return a model's mean score; None if no run has finished."""
        found = self.scores[label].values()
        return fmean(found) if found else None


class SetsAnalysis(NamedTuple):
    """What the runs on all data sets say.

    Attributes:
        sets: The data sets, by what they are called.
        registered: The plans on record, the first one first.
        over_sets: Each pair of models over the sets.
    """

    sets: dict[str, OneSet]
    registered: list[Registered]
    over_sets: dict[Pair, OverSets]

    @property
    def plan(self) -> Plan:
        """The comparison of the first set: models, options and arguments are the same for all."""
        return next(iter(self.sets.values())).plan


def one_set(plan: Plan, outcomes: Sequence[RunOutcome]) -> OneSet:
    """Compare the models on one data set by their finished runs."""
    found = scores(plan, outcomes)
    over_seeds = {pair: one and one.of_shares() for pair, one in differences(plan, found).items()}
    return OneSet(plan, outcomes, found, over_seeds)


def analyse_sets(sets: Mapping[str, OneSet], registered: Sequence[Registered]) -> SetsAnalysis:
    """Compare the models over data sets by their finished runs."""
    plan = next(iter(sets.values())).plan
    by_set = {label: {name: one.scores[label] for name, one in sets.items()} for label in plan.labels}
    both = {pair: (by_set[pair.first], by_set[pair.other]) for pair in pairs(plan)}
    found = over_sets.compare_all(both, len(registered), plan.options.margin)
    of_shares = {
        pair: over._replace(difference=over.difference and over.difference.of_shares()) for pair, over in found.items()
    }
    return SetsAnalysis({**sets}, [*registered], of_shares)
