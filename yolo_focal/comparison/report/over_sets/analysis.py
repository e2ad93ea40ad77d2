"""What the finished runs on several data sets say of the models: on each set, and over all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import NamedTuple

from yolo_focal.comparison.report import layers
from yolo_focal.comparison.report.analysis import Pair, differences, pairs, scores, works
from yolo_focal.comparison.report.layers import PairShares
from yolo_focal.comparison.stats import over_sets
from yolo_focal.comparison.stats.over_sets import OverSets
from yolo_focal.comparison.stats.paired_t import Difference
from yolo_focal.comparison.store.run_result import Work
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
        layers: What the layers carry in which models differ from the first one, as `layers.shares` returns it.
        works: What the runs of each model did, as its first finished one says.
    """

    plan: Plan
    outcomes: Sequence[RunOutcome]
    scores: dict[str, dict[int, float]]
    over_seeds: dict[Pair, Difference | None]
    layers: dict[str, PairShares]
    works: dict[str, Work]

    def mean(self, label: str) -> float | None:
        """Return a model's mean score; None if no run has finished."""
        found = self.scores[label].values()
        return fmean(found) if found else None

    def shares(self, pair: Pair) -> PairShares | None:
        """Return what the layers carry in which two models differ; None if it is not known."""
        return self.layers.get(pair.other) if pair.first == self.plan.labels[0] else None


class SetsAnalysis(NamedTuple):
    """What the runs on all data sets say.

    Attributes:
        sets: The data sets, by what they are called.
        registered: The plans on record, the first one first.
        over_sets: Each pair of models over the sets.
        over_seeing: The same over the sets that are not known to be blind to the layers in which the models differ.
    """

    sets: dict[str, OneSet]
    registered: list[Registered]
    over_sets: dict[Pair, OverSets]
    over_seeing: dict[Pair, OverSets]

    @property
    def plan(self) -> Plan:
        """The comparison of the first set: models, options and arguments are the same for all."""
        return next(iter(self.sets.values())).plan

    def blind(self, pair: Pair) -> list[str]:
        """Return what the data sets are called that show nothing of the layers in which two models differ."""
        return [label for label, one in self.sets.items() if (found := one.shares(pair)) and found.is_blind]


def one_set(plan: Plan, outcomes: Sequence[RunOutcome]) -> OneSet:
    """Compare the models on one data set by their finished runs."""
    found = scores(plan, outcomes)
    over_seeds = {pair: one and one.of_shares() for pair, one in differences(plan, found).items()}
    return OneSet(plan, outcomes, found, over_seeds, layers.shares(plan, outcomes), works(outcomes))


def analyse_sets(sets: Mapping[str, OneSet], registered: Sequence[Registered]) -> SetsAnalysis:
    """Compare the models over data sets by their finished runs."""
    of_all = SetsAnalysis({**sets}, [*registered], {}, {})
    none_left_out: dict[Pair, list[str]] = {pair: [] for pair in pairs(of_all.plan)}
    without_blind = {pair: of_all.blind(pair) for pair in none_left_out}
    over_all = _compare(of_all, none_left_out)
    over_seeing = _compare(of_all, without_blind) if any(without_blind.values()) else over_all
    return of_all._replace(over_sets=over_all, over_seeing=over_seeing)


def _compare(analysis: SetsAnalysis, left_out: Mapping[Pair, Sequence[str]]) -> dict[Pair, OverSets]:
    """Compare the models over the data sets, without those that are left out for a pair."""

    def of(label: str, pair: Pair) -> dict[str, dict[int, float]]:
        return {name: one.scores[label] for name, one in analysis.sets.items() if name not in left_out[pair]}

    both = {pair: (of(pair.first, pair), of(pair.other, pair)) for pair in left_out}
    found = over_sets.compare_all(both, len(analysis.registered), analysis.plan.options.margin)
    return {
        pair: over._replace(difference=over.difference and over.difference.of_shares()) for pair, over in found.items()
    }
