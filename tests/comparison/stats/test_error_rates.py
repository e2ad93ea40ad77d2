"""How often equal models are said to differ: small versions of scripts/experiments/simulate_statistics.py."""

from __future__ import annotations

import numpy as np
import pytest
from comparison.scores import ALPHA, FIRST_LOOK, by_seed
from experiments import simulate_statistics as simulation
from scipy import stats

from yolo_focal.comparison.stats.holm import compare_all
from yolo_focal.comparison.stats.paired_t import difference


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
