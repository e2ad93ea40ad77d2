"""Several models: their intervals decide as Holm's procedure does."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from comparison.scores import ALPHA, FIRST_LOOK, by_seed, scores
from scipy import stats

from yolo_focal.comparison.stats.holm import compare_all
from yolo_focal.comparison.stats.paired_t import difference


def textbook_holm(p: list[float], alpha: float) -> set[int]:
    """Return the indices of the hypotheses that Holm's procedure rejects."""
    rejected: set[int] = set()
    for rank, index in enumerate(sorted(range(len(p)), key=p.__getitem__)):
        if p[index] > alpha / (len(p) - rank):
            break
        rejected.add(index)
    return rejected


@pytest.mark.parametrize("seed", range(20))
def test_an_interval_leaves_out_zero_if_and_only_if_holm_rejects(seed: int) -> None:
    random = np.random.RandomState(seed)
    effects = random.choice([0, 0, 1, 2, 5], 6)
    pairs = [(random.normal(size=5), random.normal(size=5) + effect) for effect in effects]
    compared = compare_all({index: (by_seed(first), by_seed(other)) for index, (first, other) in enumerate(pairs)})
    assert [*compared] == [*range(6)]
    p = [stats.ttest_rel(other, first).pvalue for first, other in pairs]
    results = [result for result in compared.values() if result is not None]
    assert {index for index, result in enumerate(results) if result.is_more_than_noise} == textbook_holm(p, FIRST_LOOK)
    assert [result.p <= ALPHA for result in results] == [result.is_more_than_noise for result in results]
    for alpha in (0.01, 0.1, 0.3, 0.79):  # the adjusted p values decide as the procedure does at every level
        assert {index for index, result in enumerate(results) if result.p <= alpha} == textbook_holm(p, 0.8 * alpha)


def test_the_levels_step_down() -> None:
    first = np.zeros(5)
    noise = np.array([-2, -1, 0, 1, 2])
    others = {"small": noise + 0.1, "huge": noise + 100, "large": noise + 20, "none": noise}
    compared = compare_all({key: (by_seed(first), by_seed(other)) for key, other in others.items()})
    for key, comparisons in {"huge": 4, "large": 3, "small": 2, "none": 2}.items():
        alone, together = difference(first, others[key], comparisons), compared[key]
        assert together is not None and (together.low, together.high) == (alone.low, alone.high)


def test_each_pair_takes_the_seeds_that_both_have() -> None:
    first, other = scores(5)
    without = {seed: score for seed, score in by_seed(other).items() if seed != 2}
    pairs = {"whole": (by_seed(first), by_seed(other)), "failed": (by_seed(first), without), "none": ({0: 1.0}, {1: 1})}
    compared = compare_all(pairs, looks=[3, 6], margin=0.01)
    assert [*compared] == ["whole", "failed", "none"] and compared["none"] is None
    kept = [0, 1, 3, 4, 5]
    alone = difference([first[seed] for seed in kept], [other[seed] for seed in kept], 3, (2, 5), margin=0.01)
    failed = compared["failed"]
    assert failed is not None and failed._replace(p=0) == alone._replace(p=0)
    assert compare_all({}) == {}


def test_a_look_at_which_a_pair_had_no_new_seed_does_not_count() -> None:
    first, other = scores(6, 3)
    alone = pytest.approx(difference(first, other), nan_ok=True)
    assert compare_all({"a": (by_seed(first), by_seed(other))}, looks=[3, 5])["a"] == alone
    later = [{seed + 3: score for seed, score in by_seed(values).items()} for values in (first, other)]
    assert compare_all({"a": (later[0], later[1])}, looks=[3, 6])["a"] == alone  # the first three seeds failed


def test_a_pair_without_a_test_counts_and_is_never_rejected() -> None:
    first, other = scores(7)
    other = [score + 1 for score in other]
    pairs = {"constant": ({0: 0.1, 1: 0.1}, {0: 0.2, 1: 0.2}), "varied": (by_seed(first), by_seed(other))}
    compared = compare_all(pairs)
    constant, varied = compared["constant"], compared["varied"]
    assert constant is not None and math.isnan(constant.p) and not constant.is_more_than_noise
    assert varied is not None and varied.p == difference(first, other, 2).p


@pytest.mark.parametrize(
    ("pair", "looks", "message"),
    [
        (({0: math.nan}, {0: 1}), None, "b: first: the score of seed 0 is nan; leave out runs without a finite score"),
        (({3: 1, 4: 1}, {3: 1, 4: 2}), [4], "looks=(4,): seed 4 has to be below the last one"),
        (({0: 1, 1: 1}, {0: 1, 1: 2}), [5, 3], "looks=(5, 3): write increasing numbers of seeds, such as (3, 5)"),
    ],
)
def test_what_cannot_be_compared_together(pair: Any, looks: Any, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        compare_all({"b": pair}, looks)
    assert str(caught.value) == message
