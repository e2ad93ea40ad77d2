"""Successive halving: which of many models a budget is spent on (Jamieson and Talwalkar, 2016)."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from yolo_focal.errors import ConfigError

_SECONDS = {"h": 3600.0, "min": 60.0}
_FIRST = 8  # the first screening takes this part of the epochs


class Budget(NamedTuple):
    """What all runs together may take.

    Attributes:
        text: What the user wrote.
        amount: Seconds, or a number of epochs.
        is_time: Whether it is seconds.
    """

    text: str
    amount: float
    is_time: bool


class Trial(NamedTuple):
    """What a short training said of a model. Costs are in the budget's unit.

    Attributes:
        score: Its score.
        startup: What a run costs before its first epoch.
        epoch: What an epoch costs.
    """

    score: float
    startup: float
    epoch: float

    def cost(self, runs: int, epochs: int) -> float:
        """Return what a number of runs cost."""
        return runs * (self.startup + epochs * self.epoch)


class Decision(NamedTuple):
    """Which models go on.

    Attributes:
        kept: Their labels, the first model's first, then the better ones first.
        is_final: Whether they go on to the comparison, and not to another screening.
    """

    kept: list[str]
    is_final: bool


def parse(value: Any) -> Budget:
    """Read a budget such as "12h", "90min" or "500epochs".

    Raises:
        ConfigError: It is none.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(h|min|epochs)", str(value))
    if found is None or float(found[1]) == 0:
        raise ConfigError(
            f"budget={value}: write what all runs together may take, such as budget=12h, budget=90min or "
            "budget=500epochs"
        )
    return Budget(found[0], float(found[1]) * _SECONDS.get(found[2], 1), found[2] in _SECONDS)


def lengths(epochs: int) -> list[int]:
    """Return the epochs of the screenings, each twice as long as the one before: at most half of a whole training."""
    found = [max(1, epochs // _FIRST)]
    while 4 * found[-1] <= epochs:
        found.append(2 * found[-1])
    return found


def decide(trials: Mapping[str, Trial], runs: int, epochs: int, left: float, next_length: int | None) -> Decision:
    """Decide which models go on after a screening.

    If the budget does not pay for the better half, that half is screened again, for longer, unless nothing would be
    left for any of them.

    Args:
        trials: Each model's trial; the first model is what the others are compared with, and always goes on.
        runs: Number of runs of each model in the comparison.
        epochs: Epochs of each of them.
        left: What is left of the budget.
        next_length: Epochs of the next screening; None if there is none.
    """
    first, *others = trials
    in_order = [first, *sorted(others, key=lambda label: -trials[label].score)]
    affordable = _affordable(trials, in_order, runs, epochs, left)
    half = in_order[: 1 + math.ceil(len(others) / 2)]
    if len(affordable) < len(half) < len(in_order) and next_length is not None:
        after = left - sum(trials[label].cost(1, next_length) for label in half)
        if len(_affordable(trials, half, runs, epochs, after)) > 1:
            return Decision(half, is_final=False)
    return Decision(affordable, is_final=True)


def _affordable(trials: Mapping[str, Trial], in_order: Sequence[str], runs: int, epochs: int, left: float) -> list[str]:
    """Return the first model and those that can be paid for beside it, better ones first; [] if it cannot itself."""
    kept: list[str] = []
    for label in in_order:
        cost = trials[label].cost(runs, epochs)
        if cost <= left:
            kept.append(label)
            left -= cost
        elif not kept:
            break
    return kept
