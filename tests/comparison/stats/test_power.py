"""The difference that a plan can show, before the first run and with the spread so far."""

from __future__ import annotations

import math

import numpy as np
import pytest
from comparison.scores import scores
from scipy import stats

from yolo_focal.comparison.stats.paired_t import difference
from yolo_focal.comparison.stats.power import expected_minimum_detectable_difference, minimum_detectable_difference


def test_the_difference_that_a_plan_is_expected_to_show() -> None:
    assert expected_minimum_detectable_difference(36, 5) == pytest.approx(0.0748, abs=0.0001)
    assert expected_minimum_detectable_difference(3600, 5) == pytest.approx(
        expected_minimum_detectable_difference(36, 5) / 10
    )
    assert (
        expected_minimum_detectable_difference(36, 5, 3)
        > expected_minimum_detectable_difference(36, 5)
        > expected_minimum_detectable_difference(36, 10)
    )
    assert math.isnan(expected_minimum_detectable_difference(36, 1))
    spread, five = 0.25 / 6, np.random.RandomState(0).normal(size=(2000, 5))
    shown = [
        difference(np.zeros(5), spread * row + expected_minimum_detectable_difference(36, 5)).low > 0 for row in five
    ]
    assert stats.binomtest(sum(shown), 2000, 0.8).pvalue > 0.001


def test_the_difference_that_is_detectable_with_the_spread_so_far() -> None:
    first, other = scores(8)
    for options in ({}, {"looks": (3, 6)}, {"comparisons": 3}, {"test_fraction": 0.25}):
        result = difference(first, other, **options)
        assert minimum_detectable_difference(result.std, 6, **options) == pytest.approx(
            result.minimum_detectable_difference
        )
    assert math.isnan(minimum_detectable_difference(0.01, 1))
