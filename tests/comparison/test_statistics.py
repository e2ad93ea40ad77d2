"""Statistics of comparisons: intervals, looks, Holm's procedure, and how often equal models are said to differ."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from experiments import simulate_statistics as simulation
from scipy import stats

from yolo_focal.comparison.stats import alpha_spending
from yolo_focal.comparison.stats.holm import compare_all
from yolo_focal.comparison.stats.paired_t import CONFIDENCE, Difference, difference
from yolo_focal.comparison.stats.power import expected_minimum_detectable_difference, minimum_detectable_difference

ALPHA = 1 - CONFIDENCE
FIRST_LOOK = 0.8 * ALPHA


def scores(seed: int, count: int = 6) -> tuple[list[float], list[float]]:
    first, other = np.random.RandomState(seed).normal([[0.5], [0.51]], 0.02, (2, count)).tolist()
    return first, other


def by_seed(values: Any) -> dict[int, float]:
    return dict(enumerate(values))


# One pair of models


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


# Looks


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


# Several models


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


# Before the first run


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


# How often equal models are said to differ: small versions of scripts/experiments/simulate_statistics.py


@pytest.mark.parametrize("seeds", [2, 3, 5, 10])
def test_one_look_errs_in_four_percent(seeds: int) -> None:
    random = np.random.RandomState(seeds)
    times = 2000
    claimed = sum(difference(*random.randn(2, seeds)).is_more_than_noise for _ in range(times))
    assert stats.binomtest(claimed, times, FIRST_LOOK).pvalue > 0.001


def at_most_five_percent(rate: float, runs: int) -> bool:
    return bool(stats.binomtest(round(rate * runs), runs, ALPHA, alternative="greater").pvalue > 0.001)


@pytest.mark.parametrize("distribution", ["normal", "rounded to sd/4", "gamma scores"])
@pytest.mark.parametrize("comparisons", [1, 3, 9])
@pytest.mark.parametrize("seeds", [2, 3, 5, 10])
def test_families_of_comparisons_err_in_at_most_five_percent(seeds: int, comparisons: int, distribution: str) -> None:
    assert at_most_five_percent(simulation.errors(distribution, comparisons, (seeds,), 4000), 4000)


@pytest.mark.parametrize("comparisons", [1, 3, 9])
@pytest.mark.parametrize(
    ("start", "rule", "most"),
    [
        (3, simulation.along((3, 4, 5)), 5),
        (5, simulation.along((5, 10)), 10),
        (3, simulation.along((3, 5, 10, 20)), 20),
        (3, simulation.one_more, 6),
        (3, simulation.twice, 12),
    ],
)
def test_extended_comparisons_err_in_at_most_five_percent(
    start: int, rule: simulation.Rule, most: int, comparisons: int
) -> None:
    runs = 10_000
    assert at_most_five_percent(simulation.errors("normal", comparisons, (start,), runs, rule, most), runs)


def test_extended_comparisons_would_err_more_often_without_correction() -> None:
    rate = simulation.errors("normal", 1, (3,), 4000, simulation.along((3, 5, 10, 20)), 20, corrected=False)
    assert not at_most_five_percent(rate, 4000)


@pytest.mark.parametrize(("comparisons", "differing"), [(3, 2), (9, 4)])
def test_models_that_differ_do_not_make_others_seem_to(comparisons: int, differing: int) -> None:
    assert at_most_five_percent(simulation.false_claims(comparisons, differing, 5, 10_000), 10_000)


def test_the_simulation_decides_as_the_package_does() -> None:
    looks = (3, 6)
    differences = simulation.draw(np.random.RandomState(0), "rounded to sd", (300, 3, 6))
    simulated = simulation.smallest_p(differences, looks, corrected=True)
    for sample, p in zip(differences, simulated, strict=True):
        compared = compare_all({index: (by_seed([0] * 6), by_seed(row)) for index, row in enumerate(sample)}, looks)
        results = [result for result in compared.values() if result is not None]
        assert min(result.p for result in results) == pytest.approx(min(p, 1))
        assert any(result.is_more_than_noise for result in results) == (p <= ALPHA)


def test_only_the_best_epoch_prefers_noisy_validation() -> None:
    runs = 4000
    claimed = {
        way: int((simulation.single_p(differences, (5,)) <= ALPHA).sum())
        for way, differences in simulation.epoch_scores(runs, spread=0.5).items()
    }
    assert claimed.pop("best epoch") > 0.75 * runs
    assert [*claimed] == ["last epoch", "mean of the last 5 epochs", "best epoch, on test images"]
    assert all(stats.binomtest(number, runs, FIRST_LOOK).pvalue > 0.001 for number in claimed.values())


def test_the_simulation_prints_its_tables(capsys: pytest.CaptureFixture[str]) -> None:
    simulation.main(part="single,some,epochs", runs="50")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "| differences | comparisons | 2 seeds | 3 seeds | 5 seeds | 10 seeds |"
    assert lines.count("") == 3 and all(line.startswith("| ") for line in lines if line)
