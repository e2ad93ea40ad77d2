"""The difference of one pair of models: its interval, what it could show, a margin, and what cannot be compared."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from comparison.scores import FIRST_LOOK, scores
from scipy import stats

from yolo_focal.comparison.stats.paired_t import Difference, difference


@pytest.mark.parametrize("comparisons", [1, 4])
def test_the_interval_of_one_look_is_that_of_the_paired_t_test(comparisons: int) -> None:
    first, other = scores(0)
    result = difference(first, other, comparisons)
    reference = stats.ttest_rel(other, first)
    interval = reference.confidence_interval(1 - FIRST_LOOK / comparisons)
    assert (result.low, result.high) == pytest.approx((interval.low, interval.high))
    assert result.level == pytest.approx(1 - FIRST_LOOK / comparisons)
    assert result.p == pytest.approx(min(1, comparisons * reference.pvalue / 0.8))
    differences = np.subtract(other, first)
    assert (result.mean, result.std) == pytest.approx((differences.mean(), differences.std(ddof=1)))
    assert result.seeds == 6 and result.seeds_varied and not result.is_identical


@pytest.mark.parametrize("looks", [None, (3, 6)])
@pytest.mark.parametrize("seed", range(5))
def test_the_interval_follows_the_scores(seed: int, looks: tuple[int, ...] | None) -> None:
    first, other = map(np.array, scores(seed))
    result = difference(first, other, looks=looks)
    ends = np.array([result.mean, result.low, result.high, result.std, result.minimum_detectable_difference])
    scaled = difference(100 * first, 100 * other, looks=looks)
    assert [scaled.mean, scaled.low, scaled.high, scaled.std, scaled.minimum_detectable_difference] == pytest.approx(
        100 * ends
    )
    shifted = difference(first + 3, other + 3, looks=looks)
    assert [*shifted] == pytest.approx([*result], nan_ok=True)
    swapped = difference(other, first, looks=looks)
    assert (-swapped.mean, -swapped.high, -swapped.low, swapped.p) == pytest.approx((*ends[:3], result.p))


def test_the_variance_of_cross_validation_is_that_of_nadeau_and_bengio() -> None:
    first, other = scores(1, 10)
    result = difference(first, other, test_fraction=1 / 4)  # two repeats of five folds
    differences = np.subtract(other, first)
    half = stats.t.ppf(1 - FIRST_LOOK / 2, 9) * math.sqrt((1 / 10 + 1 / 4) * differences.var(ddof=1))
    assert (result.low, result.high) == pytest.approx((differences.mean() - half, differences.mean() + half))


@pytest.mark.parametrize("looks", [(6,), (3, 6)])
def test_the_detectable_difference_is_shown_four_times_out_of_five(looks: tuple[int, ...]) -> None:
    result = difference(*scores(2), looks=looks)
    error = result.std / math.sqrt(6)
    critical = (result.high - result.mean) / error
    assert stats.nct.sf(critical, 5, result.minimum_detectable_difference / error) == pytest.approx(0.8, abs=0.001)


def test_without_noise_nothing_is_claimed() -> None:
    identical = difference([0.3, 0.4, 0.5], [0.3, 0.4, 0.5])
    assert identical.is_identical and not identical.is_more_than_noise and not identical.seeds_varied
    assert (identical.mean, identical.low, identical.high) == (0, 0, 0)
    constant = difference([0.5, 0.5], [0.55, 0.55])
    assert constant.mean == pytest.approx(0.05) and math.isnan(constant.low) and math.isnan(constant.high)
    assert not constant.seeds_varied and not constant.is_more_than_noise and not constant.is_identical
    rounded = difference([0.1, 0.2, 0.7], [0.2, 0.3, 0.8])  # equal but for the rounding of floats
    assert not rounded.seeds_varied and math.isnan(rounded.low)
    single = difference([0.3], [0.4])
    assert single.seeds == 1 and math.isnan(single.low) and math.isnan(single.minimum_detectable_difference)
    assert not single.is_more_than_noise and not single.is_identical and not single.seeds_varied
    assert difference([0.3], [0.3]).is_identical


def test_a_margin() -> None:
    def claims(low: float, high: float, margin: float) -> tuple[bool, bool]:
        made = Difference((low + high) / 2, low, high, 5, std=0.1, margin=margin)
        return made.is_no_worse, made.is_equivalent

    assert claims(-0.004, 0.002, 0.005) == (True, True)
    assert claims(-0.004, 0.006, 0.005) == (True, False)
    assert claims(-0.006, 0.004, 0.005) == (False, False)
    assert claims(0.001, 0.004, math.nan) == (False, False)
    first, other = scores(0)
    assert difference(first, other, margin=1).is_equivalent
    assert not difference(first, other).is_no_worse  # there is no margin
    assert not difference([0, 0], [0, 0], margin=1).is_equivalent  # models that have found nothing


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1, 2], [1]), "first has 2 scores and other 1: give a score of each for every seed"),
        (([], []), "first and other have no scores: at least one seed is needed"),
        (([1, 2], [1, math.nan]), "other: the score of seed 1 is nan; leave out runs without a finite score"),
        (([math.inf, 2], [1, 2]), "first: the score of seed 0 is inf; leave out runs without a finite score"),
        (([1, 2], [2, 2], 1, (2, 1)), "looks=(2, 1): write increasing numbers of seeds, such as (3, 5)"),
        (([1, 2], [2, 2], 1, (2, 2)), "looks=(2, 2): write increasing numbers of seeds, such as (3, 5)"),
        (([1, 2], [2, 2], 1, (0, 2)), "looks=(0, 2): write increasing numbers of seeds, such as (3, 5)"),
        (([1, 2], [2, 2], 1, ()), "looks=(): write increasing numbers of seeds, such as (3, 5)"),
        (([1, 2], [2, 2], 1, (2, 3)), "looks=(2, 3): the last one has to be the number of scores, 2"),
    ],
)
def test_what_cannot_be_compared(arguments: Any, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        difference(*arguments)
    assert str(caught.value) == message
