"""Statistics of two models over data sets: the data set is the unit.

The question is what to expect on sets like these. So the seeds of a set, paired, are averaged to one difference, each
set counts once, and the interval is that of a paired t test on the K differences, with K - 1 degrees of freedom. Their
spread holds both how the models' true difference varies from set to set and what the seeds have left of noise. Weights
by inverse variance would answer for the sets with the least noise, and the variances would be estimates from one to
five seeds; how often each interval errs is in `docs/benchmarks/comparison.md`.

A comparison may be extended after a look, by further sets or by further seeds on the same sets, which leave the number
of differences as it was: the looks are not those of a growing sample. Each spends its share of the error rate, as in
`alpha_spending`; by Bonferroni's inequality the shares add up to no more than the whole, however the looks depend on
each other. Models are corrected for their number by Holm's procedure.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
from scipy import stats

from yolo_focal.comparison.stats import holm
from yolo_focal.comparison.stats.alpha_spending import share
from yolo_focal.comparison.stats.paired_t import CONFIDENCE, Difference

Key = TypeVar("Key")
BySet = Mapping[str, Mapping[int, float]]  # by data set and seed

_EXACT = 14  # up to so many sets all signs are tried; beyond, as many random ones
_ROUNDING = 1 - 1e-9  # sums of the same numbers in another order


class Superiority(NamedTuple):
    """How probable it is that a training of the one model scores higher than one of the other (Bouthillier 2021).

    Attributes:
        mean: Mean over the sets of the fraction of all pairs of runs in which the other's is higher; ties count half.
        low: Lower end of the t interval over the sets, by itself; NaN with one set, or if all have the same fraction.
        high: Upper end.
    """

    mean: float
    low: float
    high: float


class OverSets(NamedTuple):
    """Two models over data sets.

    Attributes:
        of_sets: Each set's mean difference over the seeds that both have; sets without such a seed are left out.
        difference: Over the sets, which are its `seeds`; None without any.
        sign_flip_p: p value of the sign-flip permutation test, corrected as that of the difference; NaN with one set.
        superiority: Of the other model; None without a set.
    """

    of_sets: dict[str, float]
    difference: Difference | None
    sign_flip_p: float
    superiority: Superiority | None

    @property
    def better(self) -> int:
        """Number of sets on which the other model is better."""
        return sum(value > 0 for value in self.of_sets.values())

    @property
    def worse(self) -> int:
        """Number of sets on which it is worse."""
        return sum(value < 0 for value in self.of_sets.values())


def compare_all(
    pairs: Mapping[Key, tuple[BySet, BySet]], looks: int = 1, margin: float | None = None
) -> dict[Key, OverSets]:
    """Compare pairs of models over data sets, with Holm's correction over all pairs.

    Args:
        pairs: For each pair the scores of the first and of the other model, by set and by seed.
        looks: Number of plans that a verdict was given for, this one included.
        margin: As for `paired_t.difference`.
    """
    numbered = {key: _by_number(*pair) for key, pair in pairs.items()}
    differences = holm.compare_all(
        {key: (first, other) for key, (_, first, other) in numbered.items()}, margin=margin, divisor=divisor(looks)
    )
    of_sets = {
        key: {name: other[number] - first[number] for number, name in enumerate(names)}
        for key, (names, first, other) in numbered.items()
    }
    single = {key: sign_flip_p([*values.values()]) / share(looks) for key, values in of_sets.items()}
    flips = holm.adjusted(single, len(pairs))  # no more than 1
    return {
        key: OverSets(of_sets[key], differences[key], flips[key], superiority(*pairs[key], numbered[key][0]))
        for key in pairs
    }


def divisor(looks: int) -> float:
    """Return what the error rate of the first look is divided by at the last of a number of looks."""
    return share(1) / share(looks)


def sign_flip_p(differences: Sequence[float]) -> float:
    """Return the two-sided p value of the sign-flip permutation test: how often a mean as large comes by signs alone.

    It is exact up to 14 differences. With K of them it is at least 2 / 2**K: fewer than six are never below 5 %.
    """
    count = len(differences)
    if count < 2:
        return math.nan
    if count <= _EXACT:
        signs = 1 - 2 * (np.arange(2**count)[:, None] >> np.arange(count) & 1)
    else:
        signs = np.random.default_rng(0).choice((-1, 1), (2**_EXACT, count))
        signs[0] = 1  # the one that was seen
    sums: npt.NDArray[np.float64] = np.abs(signs @ np.asarray(differences))
    return float(np.mean(sums >= sums[0] * _ROUNDING))


def superiority(first: BySet, other: BySet, names: Sequence[str]) -> Superiority | None:
    """Return how probable it is that a run of the other model scores higher on a set like those of these names."""
    if not names:
        return None
    higher = [np.subtract.outer([*other[name].values()], [*first[name].values()]) for name in names]
    fractions = np.array([((apart > 0) + 0.5 * (apart == 0)).mean() for apart in higher])
    mean, std = float(fractions.mean()), float(fractions.std(ddof=1)) if len(names) > 1 else 0.0
    if std == 0:
        return Superiority(mean, math.nan, math.nan)
    reach = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(names) - 1)) * std / math.sqrt(len(names))
    return Superiority(mean, max(0.0, mean - reach), min(1.0, mean + reach))


def _by_number(first: BySet, other: BySet) -> tuple[list[str], dict[int, float], dict[int, float]]:
    """Return the names of the sets with a seed that both have, and the mean scores over such seeds by set number."""
    common = {name: sorted(first[name].keys() & other[name].keys()) for name in first if name in other}
    names = [name for name, seeds in common.items() if seeds]

    def means(scores: BySet) -> dict[int, float]:
        return {number: fmean(scores[name][seed] for seed in common[name]) for number, name in enumerate(names)}

    return names, means(first), means(other)
