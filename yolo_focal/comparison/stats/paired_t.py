"""Statistics of two models' scores with the same seeds: mean, interval, p value, and minimum detectable difference.

The interval is that of a paired t test over seeds, corrected

- for earlier looks, at fewer seeds, by alpha spending (`sequential.py`);
- for other pairs of models, or other classes, by Holm's procedure (`holm.py`);
- for the training images that the folds of a cross-validation have in common, by the variance of Nadeau and Bengio
  (2003).

It covers the variation over seeds, and over folds where there are any; not other validation images, other data or other
hyperparameters. It assumes that the differences are about normal: with strongly skewed ones it errs more often.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from yolo_focal.comparison.stats.alpha_spending import check_looks, critical_value, noncentrality, p_values

CONFIDENCE = 0.95
_ROUNDING = 8 * np.finfo(float).eps  # of a difference, relative to the largest score


class Difference(NamedTuple):
    """The paired difference of a model's scores to another's.

    Attributes:
        mean: Mean of the differences.
        low: Lower end of the interval. NaN with one seed, or if the differences do not vary; 0 for identical scores.
        high: Upper end of the interval.
        seeds: Number of paired scores.
        p: The smallest 1 - `CONFIDENCE` with which the interval would leave out zero, hence corrected as the interval
            is; NaN with one seed, or if the differences do not vary.
        minimum_detectable_difference: The true difference that this many seeds show four times out of five, with this
            interval and the standard deviation seen; NaN where p is, or where no possible one would show.
        std: Standard deviation of the differences; NaN with one seed.
        margin: A difference that does not matter; NaN if there is none.
    """

    mean: float
    low: float
    high: float
    seeds: int
    p: float = math.nan
    minimum_detectable_difference: float = math.nan
    std: float = math.nan
    margin: float = math.nan

    @property
    def is_more_than_noise(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.low > 0 or self.high < 0

    @property
    def seeds_varied(self) -> bool:
        """Whether the differences vary; otherwise, and with one seed, they say nothing about noise."""
        return self.std > 0

    @property
    def level(self) -> float:
        """Confidence of the interval by itself, after all corrections; `CONFIDENCE` where there is none."""
        if not self.seeds_varied:
            return CONFIDENCE
        critical = (self.high - self.mean) / (self.std / math.sqrt(self.seeds))
        return float(1 - 2 * stats.t.sf(critical, self.seeds - 1))

    def of_shares(self) -> Difference:
        """Return it as a difference of scores between 0 and 1 can be: no end beyond 1, and nothing detectable there.

        Of it `level` no longer holds.
        """
        low, high = np.clip((self.low, self.high), -1, 1).tolist()
        minimum = self.minimum_detectable_difference
        return self._replace(low=low, high=high, minimum_detectable_difference=minimum if minimum <= 1 else math.nan)

    @property
    def is_identical(self) -> bool:
        """Whether both models have the same score with every seed."""
        return self.mean == 0 and (self.seeds == 1 or self.std == 0)

    @property
    def is_no_worse(self) -> bool:
        """Whether the interval lies above -margin. One such claim is wrong with a probability of at most 2.5 %."""
        return self.seeds_varied and self.low > -self.margin

    @property
    def is_equivalent(self) -> bool:
        """Whether the interval lies between -margin and margin. It is wrong no more often than `is_no_worse`."""
        return self.is_no_worse and self.high < self.margin


def difference(
    first: Sequence[float],
    other: Sequence[float],
    comparisons: float = 1,
    looks: Sequence[int] | None = None,
    test_fraction: float | None = None,
    margin: float | None = None,
) -> Difference:
    """Compare two models by their scores with the same seeds.

    Args:
        first: The first model's score for each seed.
        other: The other model's, for the same seeds.
        comparisons: What the error rate is divided by (Bonferroni), the number of comparisons for one.
        looks: Numbers of seeds at which the result was looked at, increasing, the last one now; by default only now.
            The error rate holds for all looks together. The mean of a comparison that was extended until it showed a
            difference is too far from zero on average; its interval covers all the same.
        test_fraction: For cross-validation, the number of test images divided by that of training images.
        margin: A difference that does not matter, for `is_no_worse` and `is_equivalent`.

    Raises:
        ValueError: The numbers of scores differ or are zero, a score is not finite, or the looks do not increase to the
            number of scores.
    """
    _check_lengths(first, other)
    for name, scores in (("first", first), ("other", other)):
        check_finite(name, dict(enumerate(scores)))
    count = len(first)
    tested = tested_looks(looks, count)
    differences, rounding = np.subtract(other, first, dtype=float), _ROUNDING * np.max(np.abs([first, other]))
    differences[np.abs(differences) <= rounding] = 0
    mean, limit = float(differences.mean()), math.nan if margin is None else margin
    if count == 1:
        return Difference(mean, math.nan, math.nan, count, margin=limit)
    if np.ptp(differences) <= rounding:
        end = 0.0 if mean == 0 else math.nan
        return Difference(mean, end, end, count, std=0.0, margin=limit)
    std, fraction = float(differences.std(ddof=1)), test_fraction or 0.0
    error = std * math.sqrt(1 / count + fraction)
    critical = critical_value((1 - CONFIDENCE) / comparisons, tested)
    (p,) = p_values(np.array([mean / error]), tested)
    return Difference(
        mean,
        mean - critical * error,
        mean + critical * error,
        count,
        min(1.0, comparisons * float(p)),
        noncentrality(critical, count - 1) * error,
        std,
        limit,
    )


def tested_looks(looks: Sequence[int] | None, count: int) -> tuple[int, ...]:
    """Return the looks at which there is a t statistic: with one seed nothing can be claimed, and nothing is spent.

    Args:
        looks: Numbers of seeds at all looks; None for one look now.
        count: Number of seeds now.

    Raises:
        ValueError: The looks do not increase to that number.
    """
    so_far = (count,) if looks is None else tuple(looks)
    check_looks(so_far)
    if so_far[-1] != count:
        raise ValueError(f"looks={so_far}: the last one has to be the number of scores, {count}")
    return tuple(look for look in so_far if look > 1)


def check_finite(name: str, scores: Mapping[int, float]) -> None:
    """Raise ValueError if a score, given by seed, is NaN or infinite."""
    for seed, score in scores.items():
        if not math.isfinite(score):
            raise ValueError(f"{name}: the score of seed {seed} is {score}; leave out runs without a finite score")


def _check_lengths(first: Sequence[float], other: Sequence[float]) -> None:
    if len(first) != len(other):
        raise ValueError(f"first has {len(first)} scores and other {len(other)}: give a score of each for every seed")
    if not len(first):
        raise ValueError("first and other have no scores: at least one seed is needed")
