"""Comparisons that are extended: each look spends its part of alpha, and widens the interval."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from comparison.scores import ALPHA, scores
from scipy import stats

from yolo_focal.comparison.stats import alpha_spending
from yolo_focal.comparison.stats.paired_t import difference


def raw_t_statistics(looks: tuple[int, ...], test_fraction: float, count: int) -> list[Any]:
    """Draw whole samples and return the t statistics at each look, written out plainly."""
    random = np.random.RandomState(1)
    samples = random.normal(size=(count, looks[-1])) + math.sqrt(test_fraction) * random.normal(size=(count, 1))
    return [
        samples[:, :look].mean(axis=1) / samples[:, :look].std(axis=1, ddof=1) / math.sqrt(1 / look + test_fraction)
        for look in looks
    ]


@pytest.mark.parametrize(
    ("looks", "test_fraction", "alpha"),
    [
        ((5,), 0, 0.05),
        ((2, 3), 0, 0.05),
        ((3, 4, 5), 0, 0.05),
        ((5, 10), 0, 0.05),
        ((5, 10), 0, 0.05 / 3),
        ((2, 4, 6), 0, 0.5),
        ((5, 10), 0.25, 0.05),
    ],
)
def test_each_look_spends_at_most_its_part_of_alpha(looks: tuple[int, ...], test_fraction: float, alpha: float) -> None:
    count = 200_000
    crossed = np.zeros(count, bool)
    for index, statistics in enumerate(raw_t_statistics(looks, test_fraction, count)):
        critical = alpha_spending.critical_value(alpha, looks[: index + 1])
        first_time = (abs(statistics) > critical) & ~crossed
        crossed |= first_time
        spent = 0.8 * 0.2**index * alpha
        alternative = "two-sided" if index == 0 else "greater"
        assert stats.binomtest(int(first_time.sum()), count, spent, alternative).pvalue > 0.001


def test_a_first_look_at_one_seed_spends_nothing() -> None:
    first, other = scores(3)
    assert difference(first, other, looks=(1, 6)) == pytest.approx(difference(first, other), nan_ok=True)


def test_every_further_look_widens_the_interval() -> None:
    first, other = scores(4, 10)
    paths = [(10,), (5, 10), (3, 5, 10), (3, 4, 5, 10), tuple(range(2, 11))]
    widths = [np.ptp(difference(first, other, looks=path)[1:3]) for path in paths]
    assert (np.diff(widths) > 0).all()
    p = [difference(first, other, looks=path).p for path in paths]
    assert (np.diff(p) >= 0).all()


@pytest.mark.parametrize("looks", [(5,), (3, 5), (3, 4, 5), tuple(range(2, 12))])
def test_p_values_and_critical_values_agree(looks: tuple[int, ...]) -> None:
    for alpha in (1e-9, 1e-5, 1e-3, ALPHA / 9, ALPHA, 0.3, 0.9):
        critical = alpha_spending.critical_value(alpha, looks)
        above, below = alpha_spending.p_values(critical * np.array([1 + 1e-9, 1 - 1e-9]), looks)
        assert above <= alpha <= below
    p = alpha_spending.p_values(np.linspace(0, 200, 1000), looks)
    assert p[0] == 1 and (np.diff(p) <= 0).all()


@pytest.mark.parametrize("degrees_of_freedom", [1, 2, 4, 19])
def test_the_noncentrality_is_that_of_the_noncentral_t_distribution(degrees_of_freedom: int) -> None:
    critical = stats.t.isf(0.02, degrees_of_freedom)
    found = alpha_spending.noncentrality(critical, degrees_of_freedom)
    assert stats.nct.sf(critical, degrees_of_freedom, found) == pytest.approx(0.8, abs=1e-4)
    assert math.isfinite(alpha_spending.noncentrality(1e9, degrees_of_freedom))
