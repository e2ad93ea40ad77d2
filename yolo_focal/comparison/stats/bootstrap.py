"""How far a difference would move on other images too: a bootstrap over images joined with the deviation over seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import stats
from ultralytics.utils import TQDM

from yolo_focal.comparison.stats.average_precision import Scorer
from yolo_focal.comparison.stats.paired_t import CONFIDENCE

_RESAMPLES = 1000
_FEWEST = 100  # a standard deviation of so many is known to 7 %
_WORK = 1.2e9  # `Scorer.work` of all resamples of all models: about three minutes of a CPU core

Array = npt.NDArray[np.float64]


class ImagesInterval(NamedTuple):
    """An interval for the difference of two models that covers other seeds and other images of the same kind.

    Attributes:
        low: Its lower end.
        high: Its upper end.
        deviation: The difference's standard deviation over choices of the images, its mean over the seeds taken.
        resamples: How often the images were drawn anew.
    """

    low: float
    high: float
    deviation: float
    resamples: int


class Resampled(NamedTuple):
    """A model's scores on the validation images, and on images that are drawn from them anew.

    Attributes:
        images: Number of validation images; 0 if there is none, or not the same number for all seeds.
        observed: The score of each seed on the images as they are.
        drawn: The scores of each seed on each draw, `(number of draws,)`.
    """

    images: int
    observed: dict[int, float]
    drawn: dict[int, Array]


def resample(models: Sequence[Mapping[int, Sequence[Scorer]]]) -> list[Resampled]:
    """Score models on images that are drawn anew with replacement, the same for all models and all seeds.

    Args:
        models: Of each model and seed, the validations that its score is the mean of, all on the same images.
    """
    all_scorers = [scorer for model in models for scorers in model.values() for scorer in scorers]
    work = sum(scorer.work for scorer in all_scorers)
    resamples = int(min(_RESAMPLES, max(_FEWEST, _WORK / max(work, 1))))
    weights = {images: _draw(images, resamples) for images in {scorer.images for scorer in all_scorers}}
    resampled = []
    with TQDM(total=len(all_scorers), desc="Drawing the images anew", disable=None if all_scorers else True) as bar:
        for model in models:
            drawn: dict[int, Array] = {}
            for seed, scorers in model.items():
                scores = []
                for scorer in scorers:
                    scores.append([scorer.score(of_draw) for of_draw in weights[scorer.images]])
                    bar.update()
                drawn[seed] = np.mean(scores, axis=0)
            observed = {seed: float(np.mean([s.score() for s in scorers])) for seed, scorers in model.items()}
            images = {scorer.images for scorers in model.values() for scorer in scorers}
            resampled.append(Resampled(images.pop() if len(images) == 1 else 0, observed, drawn))
    return resampled


def _draw(images: int, resamples: int) -> list[Array]:
    """Return how often each image is in each draw."""
    rng = np.random.default_rng(0)
    return [np.bincount(rng.integers(images, size=images), minlength=images).astype(float) for _ in range(resamples)]


def over_images(first: Resampled, other: Resampled, level: float = CONFIDENCE) -> ImagesInterval | None:
    """Return the interval over seeds and images.

    The variance of the mean difference over the draws is what the choice of the images adds; the variance over the
    seeds divided by their number is what the choice of the seeds adds. The interval is that of Student's t for their
    sum, with Satterthwaite's degrees of freedom, and at least as wide as that over the seeds alone.

    Args:
        first: The first model.
        other: The other one, of the same seeds and images.
        level: Confidence of the interval.

    Returns:
        The interval; None with fewer than two seeds or two images, or if the images are not the same.
    """
    seeds = sorted(first.observed.keys() & other.observed.keys())
    images = first.images
    if len(seeds) < 2 or images < 2 or images != other.images:
        return None
    observed = np.array([other.observed[seed] - first.observed[seed] for seed in seeds])
    drawn = np.mean([other.drawn[seed] - first.drawn[seed] for seed in seeds], axis=0)
    by_seeds, by_images = float(observed.var(ddof=1)) / len(seeds), float(np.nanvar(drawn, ddof=1))
    total = by_seeds + by_images
    if total == 0:
        return ImagesInterval(float(observed.mean()), float(observed.mean()), 0.0, len(drawn))
    freedom = total**2 / (by_seeds**2 / (len(seeds) - 1) + by_images**2 / (images - 1))
    tail = (1 - level) / 2
    reach = max(  # images add to what the seeds alone leave open, and never take from it
        float(stats.t.isf(tail, freedom)) * math.sqrt(total),
        float(stats.t.isf(tail, len(seeds) - 1)) * math.sqrt(by_seeds),
    )
    mean = float(observed.mean())
    return ImagesInterval(max(mean - reach, -1.0), min(mean + reach, 1.0), math.sqrt(by_images), len(drawn))
