"""What paired results over seeds say: the mean difference, its interval, and how many seeds would show it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

CONFIDENCE = 0.95
_POWER = 0.8
_MOST_SEEDS = 1000


class Difference(NamedTuple):
    """A model's metric less the first model's, seed by seed.

    Attributes:
        mean: Of the differences.
        low: Lower end of the interval; nan where there is but one seed.
        high: Upper end of the interval; nan where there is but one seed.
        seeds: How many seeds both models finished.
        needed: The smallest number of seeds at which a paired t test would find a difference as large as the mean, at
            the spread that was seen, four times out of five; None where no number up to 1,000 would, or where the
            spread is unknown.
    """

    mean: float
    low: float
    high: float
    seeds: int
    needed: int | None

    @property
    def is_more_than_noise(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.low > 0 or self.high < 0


def difference(first: Sequence[float], other: Sequence[float], comparisons: int = 1) -> Difference:
    """Compare two models by the same seeds, with the interval of a paired t test.

    Args:
        first: The first model's metric, a number for each seed.
        other: The other model's, for the same seeds.
        comparisons: How many models are compared with the first. The intervals of all of them together hold with the
            confidence of one (Bonferroni).
    """
    apart = np.asarray(other, float) - np.asarray(first, float)
    mean, seeds = float(apart.mean()), len(apart)
    if seeds < 2:
        return Difference(mean, math.nan, math.nan, seeds, None)
    deviation = float(apart.std(ddof=1))
    if deviation == 0:  # a model with itself
        return Difference(mean, mean, mean, seeds, None)
    level = 1 - (1 - CONFIDENCE) / comparisons
    low, high = stats.ttest_1samp(apart, 0).confidence_interval(level)
    return Difference(mean, float(low), float(high), seeds, _needed(abs(mean) / deviation, 1 - level))


def _needed(effect: float, alpha: float) -> int | None:
    """Return the smallest number of seeds at which a two-sided paired t test has the power, if it is small enough."""

    def is_enough(seeds: int) -> bool:
        critical = stats.t.isf(alpha / 2, seeds - 1)
        return bool(stats.nct.sf(critical, seeds - 1, effect * math.sqrt(seeds)) >= _POWER)

    if not is_enough(_MOST_SEEDS):
        return None
    too_few, enough = 1, _MOST_SEEDS  # the power grows with the seeds
    while enough - too_few > 1:
        middle = (too_few + enough) // 2
        too_few, enough = (too_few, middle) if is_enough(middle) else (middle, enough)
    return enough
