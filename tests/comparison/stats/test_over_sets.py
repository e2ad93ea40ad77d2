"""Statistics over data sets: against arithmetic by hand, against SciPy, and as simulated."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import pytest
import simulate_over_sets
from scipy import stats

from yolo_focal.comparison.stats import over_sets, power
from yolo_focal.comparison.stats.alpha_spending import share
from yolo_focal.comparison.stats.over_sets import BySet, compare_all, sign_flip_p, superiority

FIRST: BySet = {"a": {0: 0.50, 1: 0.60}, "b": {0: 0.30, 1: 0.30}, "c": {0: 0.80, 1: 0.80}}
OTHER: BySet = {"a": {0: 0.60, 1: 0.62}, "b": {0: 0.32, 1: 0.30}, "c": {0: 0.84, 1: 0.82}}


def test_by_hand() -> None:
    """Differences 0.06, 0.01 and 0.03: mean 0.0333, standard deviation 0.02517, standard error 0.01453."""
    found = compare_all({"b": (FIRST, OTHER)})["b"]
    assert found.of_sets == pytest.approx({"a": 0.06, "b": 0.01, "c": 0.03})
    assert (found.better, found.worse) == (3, 0)
    difference = found.difference
    assert difference is not None and difference.seeds == 3
    critical = 4.8487  # two-sided at 4 %, 2 degrees of freedom, from a table
    assert difference.mean == pytest.approx(0.1 / 3)
    assert difference.std == pytest.approx(0.0251661, abs=1e-7)
    assert (difference.low, difference.high) == pytest.approx(
        (0.1 / 3 - critical * 0.0145297, 0.1 / 3 + critical * 0.0145297), abs=1e-5
    )
    assert found.sign_flip_p == pytest.approx(2 / 8 / 0.8)
    # of four pairs of runs: 3 and a tie, 2 and two ties, 4 in favour
    assert found.superiority is not None
    assert found.superiority.mean == pytest.approx((3.5 + 3 + 4) / 12)


def test_against_scipy() -> None:
    rng = np.random.default_rng(0)
    first = {f"{index}": dict(enumerate(rng.normal(0.5, 0.1, 3).tolist())) for index in range(8)}
    other = {name: {seed: score + rng.normal(0.02, 0.03) for seed, score in of.items()} for name, of in first.items()}
    found = compare_all({"b": (first, other)})["b"]
    means = [np.mean([other[name][seed] - first[name][seed] for seed in range(3)]) for name in first]
    by_scipy = stats.ttest_1samp(means, 0)
    assert found.difference is not None
    assert found.difference.p == pytest.approx(by_scipy.pvalue / 0.8)
    interval = by_scipy.confidence_interval(1 - 0.05 * 0.8)
    assert (found.difference.low, found.difference.high) == pytest.approx((interval.low, interval.high))
    flips = stats.permutation_test((means,), np.mean, permutation_type="samples", n_resamples=np.inf)
    assert sign_flip_p(means) == pytest.approx(flips.pvalue)
    assert found.sign_flip_p == pytest.approx(flips.pvalue / 0.8)


def test_each_set_counts_once_whatever_its_seeds() -> None:
    more = {**FIRST, "a": dict.fromkeys(range(20), 0.5)}, {**OTHER, "a": dict.fromkeys(range(20), 0.56)}
    one, other = (compare_all({"b": pair})["b"].difference for pair in ((FIRST, OTHER), more))
    assert one is not None and other is not None
    assert one[:6] == pytest.approx(other[:6])


def test_seeds_are_paired_and_sets_without_a_pair_are_left_out() -> None:
    other = {"a": {1: 0.62, 2: 0.9}, "b": {2: 0.9}, "c": {0: 0.84, 1: 0.82}}
    found = compare_all({"b": (FIRST, other)})["b"]
    assert found.of_sets == pytest.approx({"a": 0.02, "c": 0.03})
    assert found.difference is not None and found.difference.seeds == 2
    none = compare_all({"b": (FIRST, {"a": {}, "b": {}, "c": {}})})["b"]
    assert (none.of_sets, none.difference, none.superiority) == ({}, None, None)
    assert math.isnan(none.sign_flip_p)


def test_models_are_corrected_by_holm() -> None:
    worse = {name: {seed: score - 0.5 for seed, score in of.items()} for name, of in OTHER.items()}
    both = compare_all({"b": (FIRST, OTHER), "c": (FIRST, worse)})
    alone = {name: compare_all({name: (FIRST, other)})[name] for name, other in (("b", OTHER), ("c", worse))}
    p = {name: one.difference.p for name, one in alone.items() if one.difference}
    assert p["c"] < p["b"]
    assert both["c"].difference is not None and both["b"].difference is not None
    assert both["c"].difference.p == pytest.approx(2 * p["c"])
    assert both["b"].difference.p == pytest.approx(max(2 * p["c"], p["b"]))
    assert both["b"].sign_flip_p == pytest.approx(2 * 0.25 / 0.8)


def test_further_looks_share_the_error_whatever_was_added() -> None:
    """By Bonferroni's inequality: the levels of all looks add up to no more than 5 %."""
    assert sum(share(look) for look in range(1, 50)) == pytest.approx(1)
    first, second = (compare_all({"b": (FIRST, OTHER)}, looks)["b"] for looks in (1, 2))
    assert first.difference is not None and second.difference is not None
    assert second.difference.p == pytest.approx(min(1, 5 * first.difference.p))
    reach = stats.t.ppf(1 - 0.05 * 0.16 / 2, 2) * first.difference.std / math.sqrt(3)
    assert second.difference.high - second.difference.mean == pytest.approx(reach)
    assert second.sign_flip_p == 1


def test_a_margin_holds_over_sets() -> None:
    close = {name: {seed: score + 0.001 * (seed + len(of)) for seed, score in of.items()} for name, of in FIRST.items()}
    close["b"] = {0: 0.301, 1: 0.301}
    difference = compare_all({"b": (FIRST, close)}, margin=0.01)["b"].difference
    assert difference is not None and difference.is_no_worse and difference.is_equivalent


@pytest.mark.parametrize(
    ("differences", "p"),
    [
        ([0.1], math.nan),
        ([0.1, 0.2], 0.5),
        ([0.1, -0.1], 1.0),
        ([0.0, 0.0, 0.0], 1.0),
        ([0.1, 0.2, 0.3, 0.4, 0.5, 0.6], 2 / 64),
        ([0.1, 0.2, 0.3, 0.4, 0.5, -0.1], 4 / 64 + 2 / 64),  # 1.4 or more in size: none, either or both of the 0.1
    ],
)
def test_signs_are_flipped_by_hand(differences: list[float], p: float) -> None:
    assert sign_flip_p(differences) == pytest.approx(p, nan_ok=True)


def test_signs_of_many_sets_are_drawn() -> None:
    differences = np.random.default_rng(1).normal(0.4, 1, 20).tolist()
    by_scipy = stats.permutation_test((differences,), np.mean, permutation_type="samples", n_resamples=100_000)
    assert sign_flip_p(differences) == pytest.approx(by_scipy.pvalue, abs=0.02)
    assert sign_flip_p([1.0] * 20) > 0


def test_how_probable_a_higher_score_is() -> None:
    """Of the pairs of runs on each set 4 of 4, 2 and a tie of 4, and 0 of 1 are in favour."""
    first = {"a": {0: 0.1, 1: 0.2}, "b": {0: 0.1, 1: 0.2}, "c": {0: 0.9}}
    other = {"a": {0: 0.3, 5: 0.4}, "b": {0: 0.2, 1: 0.15}, "c": {0: 0.8}}
    found = superiority(first, other, ["a", "b", "c"])
    assert found is not None
    assert found.mean == pytest.approx((1 + 0.625 + 0) / 3)
    assert (found.low, found.high) == (0, 1)  # clipped
    one = superiority(first, other, ["a"])
    assert one is not None and one.mean == 1 and math.isnan(one.low)
    near = {"a": {0: 0.15, 1: 0.25}, "b": {0: 0.15, 1: 0.15}, "c": {0: 0.9}}
    few = superiority(first, near, ["a", "b", "c"])
    assert few is not None and few.mean == pytest.approx((0.75 + 0.5 + 0.5) / 3)
    reach = stats.t.ppf(0.975, 2) * np.std([0.75, 0.5, 0.5], ddof=1) / math.sqrt(3)
    assert (few.low, few.high) == pytest.approx((few.mean - reach, few.mean + reach))


def test_what_a_plan_can_show_is_smaller_with_more_sets_and_more_seeds() -> None:
    """With one seed on sets of equally many images it is what as many seeds show on one of them."""
    one_seed = power.expected_over_sets([40] * 5, 1)
    assert one_seed == pytest.approx(power.expected_minimum_detectable_difference(40, 5))
    assert power.expected_over_sets([40] * 5, 4) == pytest.approx(one_seed / 2)
    assert power.expected_over_sets([40] * 10, 1) < one_seed
    assert math.isnan(power.expected_over_sets([40], 3))


def test_the_simulation_has_a_row_for_each_cell_and_method(tmp_path: Path) -> None:
    simulate_over_sets.main("40", str(tmp_path / "t.csv"))
    rows = list(csv.DictReader((tmp_path / "t.csv").open()))
    assert len(rows) == 3 * 2 * 3 * (2 + 4 + 4)
    assert {row["method"] for row in rows if row["seeds"] == "1"} == {"t", "signs"}


def test_the_simulation_takes_the_tests_of_the_package() -> None:
    differences = np.random.default_rng(0).normal(size=(5, 6, 2))
    by_t, by_signs = (simulate_over_sets.METHODS[name][1](differences) for name in ("t", "signs"))
    for index, of_sets in enumerate(differences):
        first = {f"{number}": {0: 0.0, 1: 0.0} for number in range(6)}
        other = {f"{number}": dict(enumerate(of.tolist())) for number, of in enumerate(of_sets)}
        found = over_sets.compare_all({"b": (first, other)})["b"]
        assert found.difference is not None
        assert min(1, by_t[index] / 0.8) == pytest.approx(found.difference.p)
        assert by_signs[index] == pytest.approx(sign_flip_p([*found.of_sets.values()]))
