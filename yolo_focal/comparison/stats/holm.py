"""Comparisons of several models or classes, corrected for their number by Holm's procedure (Holm 1979)."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TypeVar

from yolo_focal.comparison.stats.alpha_spending import check_looks
from yolo_focal.comparison.stats.paired_t import Difference, check_finite, difference

Key = TypeVar("Key", bound=Hashable)
Scores = Mapping[int, float]  # by seed, or by seed and fold, numbered from 0 in the order of their addition


def compare_all(
    pairs: Mapping[Key, tuple[Scores, Scores]],
    looks: Sequence[int] | None = None,
    test_fraction: float | None = None,
    margin: float | None = None,
    divisor: float = 1.0,
) -> dict[Key, Difference | None]:
    """Compare several pairs of models, or two models by several scores, with Holm's correction over all of them.

    Holm's procedure tests the smallest of m p values at alpha / m, the next at alpha / (m - 1), and so on to the first
    that is not significant; that one and all after it keep its level. Each interval has the level of its test, so that
    it leaves out zero if and only if Holm rejects. The probability that any interval leaves out a zero that is true is
    at most 5 %. Each interval by itself covers with at least 95 %; that all of them cover at once is not claimed.

    Args:
        pairs: For each pair the scores of the first and of the other model, by seed. Seeds that only one of them has
            are left out. A pair without a test counts in m all the same.
        looks: Numbers of seeds that were planned at each look, failed ones included: a look at n is one at seeds 0 to
            n - 1. Only one look by default.
        test_fraction: As for `difference`.
        margin: As for `difference`. Claims about it are not corrected for their number.
        divisor: What the error rate is divided by besides.

    Returns:
        The difference of each pair, in the same order; None for a pair without a seed that both have.

    Raises:
        ValueError: A score is not finite, the looks do not increase, or a seed is not below the last look.
    """
    comparisons: dict[Key, Callable[[int], Difference]] = {}
    for key, (first, other) in pairs.items():
        check_finite(f"{key}: first", first)
        check_finite(f"{key}: other", other)
        seeds = sorted(first.keys() & other.keys())
        if seeds:
            scores = [first[seed] for seed in seeds], [other[seed] for seed in seeds]
            compare = functools.partial(
                difference, *scores, looks=_looks_of(seeds, looks), test_fraction=test_fraction, margin=margin
            )
            comparisons[key] = functools.partial(_divided, compare, divisor)
    return {**dict.fromkeys(pairs), **_step_down(comparisons, len(pairs))}


def adjusted(single_p: Mapping[Key, float], count: int) -> dict[Key, float]:
    """Return p values adjusted by Holm's procedure, the smallest first; NaN stays NaN.

    Args:
        single_p: Of each hypothesis by itself.
        count: Number of hypotheses, with those that cannot be tested.
    """
    found, largest = {}, 0.0
    for rank, key in enumerate(sorted(single_p, key=lambda key: (math.isnan(single_p[key]), single_p[key]))):
        largest = max(largest, min(1.0, (count - rank) * single_p[key]))
        found[key] = math.nan if math.isnan(single_p[key]) else largest
    return found


def _divided(compare: Callable[..., Difference], divisor: float, comparisons: int) -> Difference:
    return compare(comparisons=comparisons * divisor)


def _step_down(comparisons: Mapping[Key, Callable[[int], Difference]], count: int) -> dict[Key, Difference]:
    """Apply Holm's procedure.

    Args:
        comparisons: For each hypothesis, what returns its difference, corrected for a number of comparisons.
        count: Number of hypotheses, with those that cannot be tested.
    """
    corrected = {}
    undecided = count
    for key, p in adjusted({key: compare(1).p for key, compare in comparisons.items()}, count).items():
        result = comparisons[key](undecided)
        corrected[key] = result._replace(p=p)
        undecided -= result.is_more_than_noise
    return corrected


def _looks_of(seeds: Sequence[int], looks: Sequence[int] | None) -> list[int]:
    """Return how many of a pair's seeds there were at each look, without looks at which none had been added."""
    if looks is None:
        return [len(seeds)]
    check_looks(tuple(looks))
    if seeds[-1] >= looks[-1]:
        raise ValueError(f"looks={tuple(looks)}: seed {seeds[-1]} has to be below the last one")
    return sorted({sum(seed < look for seed in seeds) for look in looks} - {0})
