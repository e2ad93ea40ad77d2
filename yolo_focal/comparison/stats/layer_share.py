"""The share of a model's score that some of its layers carry, over seeds, and whether data can test such layers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from yolo_focal.comparison.stats.paired_t import CONFIDENCE

BLIND = 0.05  # data are blind to layers that carry less than this share of the score


class LayerShare(NamedTuple):
    """The share of the score that layers carry: 1 - the score without them / the score with them.

    Attributes:
        mean: Mean over the seeds.
        least: Least of the seeds.
        most: Most of the seeds.
        upper: Upper end of the 95 % interval over the seeds; the share itself with one.
        seeds: Number of seeds.
    """

    mean: float
    least: float
    most: float
    upper: float
    seeds: int

    @property
    def is_small(self) -> bool:
        """Whether the layers carry so little that no other ones in their place can show much.

        Layers without which the score is higher do not count: there, others may well be better.
        """
        return self.mean > -BLIND and self.upper < BLIND


def over_seeds(shares: Sequence[float], test_fraction: float | None = None) -> LayerShare | None:
    """Return what layers carry over the seeds; None if it is known of no seed.

    Args:
        shares: The share with each seed.
        test_fraction: For cross-validation, the number of test images divided by that of training images.
    """
    if not shares:
        return None
    count, mean, reach = len(shares), float(np.mean(shares)), 0.0
    if count > 1:
        error = np.std(shares, ddof=1) * math.sqrt(1 / count + (test_fraction or 0.0))
        reach = float(stats.t.ppf((1 + CONFIDENCE) / 2, count - 1) * error)
    return LayerShare(mean, min(shares), max(shares), mean + reach, count)
