"""Scores of two models, seed by seed, and the levels that they are compared at."""

from __future__ import annotations

from typing import Any

import numpy as np

from yolo_focal.comparison.stats.paired_t import CONFIDENCE

ALPHA = 1 - CONFIDENCE
FIRST_LOOK = 0.8 * ALPHA


def scores(seed: int, count: int = 6) -> tuple[list[float], list[float]]:
    """Draw scores of two models that differ by half a standard deviation."""
    first, other = np.random.RandomState(seed).normal([[0.5], [0.51]], 0.02, (2, count)).tolist()
    return first, other


def by_seed(values: Any) -> dict[int, float]:
    """Return scores by the seeds from 0 on."""
    return dict(enumerate(values))
