"""Which share of the score layers carry, over seeds, on paper."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from yolo_focal.comparison.stats.layer_share import over_seeds
from yolo_focal.comparison.store.run_result import Ablated


def test_a_share_is_what_is_lost_without_the_layers() -> None:
    one = Ablated(rows=[9], by="zeros", score=0.8, without=0.6)
    assert one.share == pytest.approx(0.25)
    assert replace(one, without=0.88).share == pytest.approx(-0.1)  # it is better without
    assert [replace(one, score=score).share for score in (0.0, 0.0099, math.nan)] == [None, None, None]
    assert replace(one, without=None).share is None


@pytest.mark.parametrize(
    ("shares", "upper", "is_small"),
    [
        # By a table of Student's t: t(1) = 12.706, t(2) = 4.303 at 95 %; the mean, and t times std / sqrt(seeds) above.
        ([0.049], 0.049, True),
        ([0.05], 0.05, False),
        ([-0.049], -0.049, True),
        ([-0.05], -0.05, False),  # without the layer the score is higher: another one may well be better
        ([0.01, 0.01], 0.01, True),
        ([0.02, 0.03], 0.025 + 12.706 * 0.005, False),
        ([0.01, 0.02, 0.03], 0.02 + 4.303 * 0.01 / math.sqrt(3), True),
        ([0.02, 0.03, 0.04], 0.03 + 4.303 * 0.01 / math.sqrt(3), False),
        ([-0.04, -0.01, -0.04], -0.03 + 4.303 * 0.03 / 3, True),
    ],
)
def test_data_are_blind_below_a_share_of_a_twentieth(shares: list[float], upper: float, is_small: bool) -> None:
    found = over_seeds(shares)
    assert found is not None
    assert found.upper == pytest.approx(upper, abs=1e-5)
    assert (found.mean, found.least, found.most) == pytest.approx((np.mean(shares), min(shares), max(shares)))
    assert (found.is_small, found.seeds) == (is_small, len(shares))


def test_folds_have_images_in_common_and_no_share_is_none() -> None:
    shares = [0.01, 0.02, 0.03]
    found = over_seeds(shares, 0.5)
    assert found is not None
    assert found.upper == pytest.approx(0.02 + float(stats.t.ppf(0.975, 2)) * 0.01 * math.sqrt(1 / 3 + 0.5))
    assert over_seeds([]) is None
