"""How far a difference would move on other images too: a bootstrap over images joined with the spread over seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import stats

from yolo_focal.comparison.precision import Scorer
from yolo_focal.comparison.statistics import CONFIDENCE

_RESAMPLES = 1000
_WORK = 2e9  # about how many detections may be looked at in all


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


def over_images(
    first: Mapping[int, Sequence[Scorer]],
    other: Mapping[int, Sequence[Scorer]],
    images: int,
    level: float = CONFIDENCE,
) -> ImagesInterval | None:
    """Return the interval over seeds and images.

    The images are drawn anew with replacement, the same for both models and all seeds, and the mean difference is
    computed on each draw. Its variance over the draws is what the choice of the images adds; the variance over the
    seeds divided by their number is what the choice of the seeds adds. The interval is that of Student's t for their
    sum, with Satterthwaite's degrees of freedom, and at least as wide as that over the seeds alone.

    Args:
        first: Of each seed, the first model's validations that its score is the mean of.
        other: The other model's, of the same seeds.
        images: Number of validation images.
        level: Confidence of the interval.

    Returns:
        The interval; None with fewer than two seeds or two images.
    """
    seeds = sorted(first.keys() & other.keys())
    if len(seeds) < 2 or images < 2:
        return None
    size = sum(scorer.size for models in (first, other) for seed in seeds for scorer in models[seed])
    resamples = int(min(_RESAMPLES, max(100, _WORK / max(size, 1))))
    rng = np.random.default_rng(0)

    def differences(weights: npt.NDArray[np.float64] | None) -> npt.NDArray[np.float64]:
        scores = [
            [np.mean([scorer.score(weights) for scorer in models[seed]]) for seed in seeds] for models in (first, other)
        ]
        return np.subtract(scores[1], scores[0])

    observed = differences(None)
    drawn = [
        float(differences(np.bincount(rng.integers(images, size=images), minlength=images).astype(float)).mean())
        for _ in range(resamples)
    ]
    by_seeds, by_images = float(observed.var(ddof=1)) / len(seeds), float(np.nanvar(drawn, ddof=1))
    total = by_seeds + by_images
    if total == 0:
        return ImagesInterval(float(observed.mean()), float(observed.mean()), 0.0, resamples)
    freedom = total**2 / (by_seeds**2 / (len(seeds) - 1) + by_images**2 / (images - 1))
    tail = (1 - level) / 2
    reach = max(  # images add to what the seeds alone leave open, and never take from it
        float(stats.t.isf(tail, freedom)) * math.sqrt(total),
        float(stats.t.isf(tail, len(seeds) - 1)) * math.sqrt(by_seeds),
    )
    mean = float(observed.mean())
    return ImagesInterval(mean - reach, mean + reach, math.sqrt(by_images), resamples)
