"""Power of a comparison before it is complete: how large a difference it will be able to show."""

from __future__ import annotations

import math
from collections.abc import Sequence

from yolo_focal.comparison.stats.alpha_spending import critical_value, noncentrality
from yolo_focal.comparison.stats.paired_t import CONFIDENCE, tested_looks

# Standard deviation over seeds of the paired difference of mAP50-95 with one validation image; with more it is divided
# by the square root of their number. A guess from one data set: 0.042 with 36 images.
_STD_OF_ONE_IMAGE = 0.25


def minimum_detectable_difference(
    std: float,
    seeds: int,
    comparisons: float = 1,
    looks: Sequence[int] | None = None,
    test_fraction: float | None = None,
) -> float:
    """Return the true difference that a plan shows four times out of five; NaN with one seed.

    Args:
        std: Standard deviation over seeds of the paired difference.
        seeds: Number of seeds, or of seeds times folds.
        comparisons: Number of pairs of models that are compared. It is that of the first step of Holm's procedure.
        looks: As for `difference`.
        test_fraction: As for `difference`.
    """
    if seeds < 2:
        return math.nan
    critical = critical_value((1 - CONFIDENCE) / comparisons, tested_looks(looks, seeds))
    return noncentrality(critical, seeds - 1) * std * math.sqrt(1 / seeds + (test_fraction or 0.0))


def expected_minimum_detectable_difference(images: int, seeds: int, comparisons: int = 1) -> float:
    """Return about which true difference of mAP50-95 a plan shows four times out of five; NaN with one seed.

    This is rough: the standard deviation over seeds is guessed from the number of validation images alone, and may be
    half or twice as large with other data, schedules or models. After some runs `minimum_detectable_difference` says it
    from theirs.

    Args:
        images: Number of images that the models are scored on.
        seeds: Number of seeds.
        comparisons: Number of pairs of models that are compared.
    """
    return minimum_detectable_difference(_STD_OF_ONE_IMAGE / math.sqrt(images), seeds, comparisons)


def expected_over_sets(images: Sequence[int], seeds: int, comparisons: float = 1) -> float:
    """Return about which true difference of mAP50-95 a plan over data sets shows, if it is the same on all of them.

    As rough as `expected_minimum_detectable_difference`; a difference that varies from set to set has to be larger.

    Args:
        images: Number of images that the models are scored on, of each set.
        seeds: Number of seeds on each.
        comparisons: As for `minimum_detectable_difference`.
    """
    std = _STD_OF_ONE_IMAGE * math.sqrt(sum(1 / number for number in images) / len(images) / seeds)
    return minimum_detectable_difference(std, len(images), comparisons)
