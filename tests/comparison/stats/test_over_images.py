"""Intervals over images, from a bootstrap: as on paper, and as often right as they say."""

from __future__ import annotations

import numpy as np
import pytest
from simulate_bootstrap import scene, simulated, trained

from yolo_focal.comparison.stats import bootstrap
from yolo_focal.comparison.stats.average_precision import Scorer
from yolo_focal.comparison.stats.bootstrap import Resampled, over_images, resample
from yolo_focal.comparison.store.validations import Validation


# On paper, by a table of Student's t. V is the variance of the mean over the seeds, W that over the draws, and f the
# degrees of freedom, (V + W)^2 / (V^2 / (seeds - 1) + W^2 / (images - 1)); the reach is the larger of t(f) sqrt(V + W)
# and t(seeds - 1) sqrt(V), with t(1) = 12.706, t(2) = 4.303, t(8) = 2.306, t(9) = 2.262 at 95 %.
@pytest.mark.parametrize(
    ("by_seed", "by_draw", "images", "reach"),
    [
        # V = 0.0008 / 2 = 0.0004, W = 0.0008, f = 0.0012^2 / (0.0004^2 / 1 + 0.0008^2 / 8) = 6: 12.706 * 0.02
        ([0.10, 0.14], [0.10, 0.14], 9, 0.2541),
        # V = 0, W = 0.0008, f = 9: 2.262 * 0.02828; a difference that all seeds have alike, on ten images
        ([0.12, 0.12], [0.10, 0.14], 10, 0.0640),
        # V = 0.0008 / 2, W = 0: 12.706 * 0.02; a difference that all images have alike
        ([0.10, 0.14], [0.12, 0.12], 10, 0.2541),
        # V = 0.0009 / 3 = 0.0003, W = 0.0009, f = 0.0012^2 / (0.0003^2 / 2 + 0.0009^2 / 6) = 8: 2.306 * 0.03464
        ([0.09, 0.12, 0.15], [0.09, 0.12, 0.15], 7, 0.0799),
        # V = 0.0003, W = 0.0001, f = 3.2: about 3.1 * 0.02 is less than 4.303 * 0.01732
        ([0.09, 0.12, 0.15], [0.11, 0.12, 0.13], 3, 0.0745),
    ],
)
def test_the_interval_over_images_is_the_one_on_paper(
    by_seed: list[float], by_draw: list[float], images: int, reach: float
) -> None:
    seeds = range(len(by_seed))
    first = Resampled(images, dict.fromkeys(seeds, 0.3), dict.fromkeys(seeds, np.full(len(by_draw), 0.3)))
    other = Resampled(
        images,
        {seed: 0.3 + apart for seed, apart in zip(seeds, by_seed, strict=True)},
        {seed: 0.3 + np.array(by_draw) for seed in seeds},
    )
    found = over_images(first, other)
    assert found is not None
    mean = sum(by_seed) / len(by_seed)
    assert (found.low, found.high) == pytest.approx((mean - reach, mean + reach), abs=2e-4)


def test_what_other_images_add_is_a_share_s_on_paper() -> None:
    """Of 16 images one model guesses 4 and the other those and 8 more: half of them, so that sd = sqrt(1 / 4 / 16)."""
    images, zeros, ones = np.arange(16, dtype=np.int32), np.zeros((16, 4), np.float32), np.ones(16, np.float32)

    def guessed(count: int) -> dict[int, list[Scorer]]:
        correct = (images < count)[:, None]
        found = Validation(np.array([*"abcdefghijklmnop"]), images, ones, images, correct, zeros, images, images, zeros)
        return {seed: [Scorer(found, "classify")] for seed in range(2)}

    found = over_images(*resample([guessed(4), guessed(12)]))
    assert found is not None
    assert found.deviation == pytest.approx(0.125, rel=0.08)  # of 1,000 draws
    reach = 2.131 * found.deviation  # t(15); the seeds are alike
    assert (found.low, found.high) == pytest.approx((0.5 - reach, 0.5 + reach), abs=1e-3)


@pytest.mark.slow
def test_what_other_images_add_is_what_a_bootstrap_of_the_mean_gives() -> None:
    rng = np.random.default_rng(0)
    first = {seed: [Scorer(simulated(rng, 40), "detect")] for seed in range(3)}
    other = {seed: [Scorer(simulated(rng, 40, skill=0.9), "detect")] for seed in range(3)}
    found = over_images(*resample([first, other]))
    assert found is not None
    apart = [other[seed][0].score() - first[seed][0].score() for seed in range(3)]
    assert found.low < np.mean(apart) < found.high
    by_seeds = bootstrap.stats.t.isf(0.025, 2) * np.std(apart, ddof=1) / np.sqrt(3)
    assert found.high - np.mean(apart) >= by_seeds - 1e-12
    assert (found.high + found.low) / 2 == pytest.approx(np.mean(apart))
    draws = []
    for _ in range(300):
        weights = np.bincount(rng.integers(40, size=40), minlength=40).astype(float)
        draws.append(np.mean([other[s][0].score(weights) - first[s][0].score(weights) for s in range(3)]))
    assert found.deviation == pytest.approx(np.std(draws), rel=0.15)
    assert over_images(*resample([first, {0: other[0]}])) is None
    on_fewer = {seed: [Scorer(simulated(rng, 40 - seed), "detect")] for seed in range(3)}
    assert over_images(*resample([first, on_fewer])) is None
    assert over_images(*resample([on_fewer, on_fewer])) is None


@pytest.mark.slow
def test_a_model_with_itself_differs_on_no_images() -> None:
    rng = np.random.default_rng(0)
    scorers = {seed: [Scorer(simulated(rng, 20), "detect")] for seed in range(3)}
    found = over_images(*resample([scorers, scorers]))
    assert found is not None
    assert (found.low, found.high) == (0, 0)


@pytest.mark.slow
def test_the_interval_covers_the_true_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulated detectors whose skill varies with the seed, on new images each time."""
    monkeypatch.setattr(bootstrap, "_RESAMPLES", 100)
    rng = np.random.default_rng(1)
    truth = np.subtract(
        *(np.mean([s.score() for s in trained(rng, scene(rng, 1000), skill, 4)]) for skill in (0.7, 0.6))
    )
    covered, times = 0, 30
    for _ in range(times):
        images = scene(rng, 40)
        first, other = ({s: [x] for s, x in enumerate(trained(rng, images, skill, 4))} for skill in (0.6, 0.7))
        found = over_images(*resample([first, other]))
        assert found is not None
        covered += found.low < truth < found.high
    assert covered >= 25  # fewer than 25 of 30 have a probability below 1 % at 95 %
