"""Simulate comparisons of two models over data sets, and write how often each interval or test errs, as CSV.

python scripts/experiments/simulate_over_sets.py [runs=10000] [save=docs/benchmarks/over-sets.csv]

The unit is the noise of a difference with one seed: its standard deviation is 1 on every set, or 1/3, 1 and 3 in turns
where it is unequal. The true difference of a set is the mean, 0, and an effect of the set: none, normal, or exponential
(skewness 2), each of standard deviation 1. The methods are

t         the paired t interval on the sets' mean differences, each set once
fixed     the mean weighted by inverse variance, each estimated from the set's seeds, and its normal interval
random    the same with the variance between sets added (DerSimonian and Laird 1986), as meta-analyses have it
signs     the sign-flip permutation test

all at 5 %. `errors` is the percentage of comparisons that claim a difference though the mean is 0, which is also how
often the interval does not cover the mean; `found` the same where the mean is 1.5. Both have a standard error of 0.5 at
most. Inverse variances need two seeds.
"""

from __future__ import annotations

import csv
import itertools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import stats

Array = npt.NDArray[np.float64]

SETS, SEEDS = (3, 5, 10), (1, 2, 5)
EFFECTS = ("none", "normal", "exponential")
NOISES = {"equal": (1.0,), "unequal": (1 / 3, 1.0, 3.0)}
ALPHA = 0.05
DIFFERENCE = 1.5  # true mean for `found`
HEAD = ("sets", "seeds", "effects of sets", "noise", "method", "errors", "found")


def simulate(rng: np.random.Generator, runs: int, sets: int, seeds: int, effect: str, noise: str) -> Array:
    """Return differences of scores, `(runs, sets, seeds)`, whose true mean over sets is 0."""
    deviations = np.resize(NOISES[noise], sets)
    effects = {
        "none": np.zeros((runs, sets)),
        "normal": rng.normal(size=(runs, sets)),
        "exponential": rng.exponential(size=(runs, sets)) - 1,
    }[effect]
    return effects[:, :, None] + deviations[:, None] * rng.normal(size=(runs, sets, seeds))


def by_t(differences: Array) -> Array:
    """Return the p value of each comparison by the t test over sets."""
    p: Array = stats.ttest_1samp(differences.mean(axis=2), 0, axis=1).pvalue
    return p


def by_fixed_weights(differences: Array) -> Array:
    """Return the p values by inverse variances, without one between sets."""
    return _weighted(differences, np.zeros((len(differences), 1)))


def by_random_effects(differences: Array) -> Array:
    """Return the p values by inverse variances, with that between sets estimated by the method of moments."""
    means, weights = differences.mean(axis=2), 1 / _variances(differences)
    whole = weights.sum(axis=1, keepdims=True)
    mean = (weights * means).sum(axis=1, keepdims=True) / whole
    excess = (weights * (means - mean) ** 2).sum(axis=1, keepdims=True) - (means.shape[1] - 1)
    between: Array = np.maximum(0, excess / (whole - (weights**2).sum(axis=1, keepdims=True) / whole))
    return _weighted(differences, between)


def by_signs(differences: Array) -> Array:
    """Return the p values of the sign-flip permutation test."""
    means = differences.mean(axis=2)
    sets = means.shape[1]
    signs = 1 - 2 * (np.arange(2**sets)[:, None] >> np.arange(sets) & 1)
    sums = np.abs(means @ signs.T)
    p: Array = (sums >= sums[:, :1] * (1 - 1e-9)).mean(axis=1)
    return p


METHODS: dict[str, tuple[int, Callable[[Array], Array]]] = {  # with the number of seeds that each needs
    "t": (1, by_t),
    "fixed": (2, by_fixed_weights),
    "random": (2, by_random_effects),
    "signs": (1, by_signs),
}


def _variances(differences: Array) -> Array:
    variances: Array = differences.var(axis=2, ddof=1) / differences.shape[2]
    return variances


def _weighted(differences: Array, between: Array) -> Array:
    weights = 1 / (_variances(differences) + between)
    z = (weights * differences.mean(axis=2)).sum(axis=1) / np.sqrt(weights.sum(axis=1))
    p: Array = 2 * stats.norm.sf(np.abs(z))
    return p


def rows(runs: int) -> Iterator[tuple[object, ...]]:
    """Yield a row for each cell and method."""
    rng = np.random.default_rng(0)
    for sets, seeds, effect, noise in itertools.product(SETS, SEEDS, EFFECTS, NOISES):
        differences = simulate(rng, runs, sets, seeds, effect, noise)
        for name, (least, p_values) in METHODS.items():
            if seeds >= least:
                rates = ((p_values(differences + mean) < ALPHA).mean() for mean in (0, DIFFERENCE))
                yield sets, seeds, effect, noise, name, *(f"{100 * rate:.2f}" for rate in rates)


def main(runs: str = "10000", save: str = "docs/benchmarks/over-sets.csv") -> None:
    """Write the table."""
    with Path(save).open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([HEAD, *rows(int(runs))])
    print(save)


if __name__ == "__main__":
    main(**dict(argument.split("=", 1) for argument in sys.argv[1:]))
