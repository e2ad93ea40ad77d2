"""Says in words what a comparison has found."""

from __future__ import annotations

import math
from collections.abc import Sequence

from yolo_focal.comparison.plan import Plan
from yolo_focal.comparison.statistics import CONFIDENCE, Difference
from yolo_focal.comparison.table import Outcome, metric, without_labels

_FEW = 3  # with fewer seeds the interval is too wide to say much


def verdict(plan: Plan, label: str, found: Difference | None) -> str:
    """Say whether a model is better than the first, by how much, and whether that is more than noise."""
    first = next(iter(plan.models))
    name = short(metric(plan))
    if found is None:
        return f"{label} and {first} have no seed that both finished: nothing can be said."
    if math.isnan(found.low):
        return (
            f"{label} is {found.mean:+.4f} {name} from {first} with one seed. One seed says nothing about noise: "
            "write seeds=5."
        )
    if found.low == found.high == 0:
        return f"{label} and {first} give the same results."
    interval = f"{CONFIDENCE:.0%} interval {found.low:+.4f} to {found.high:+.4f}, {found.seeds} seeds"
    if found.is_more_than_noise:
        few = f" With fewer than {_FEW} seeds this is to be taken with caution." if found.seeds < _FEW else ""
        which = "better" if found.mean > 0 else "worse"
        return f"{label} is {which} than {first} by {abs(found.mean):.4f} {name} ({interval}): more than noise.{few}"
    seeds = f"about {found.needed} seeds" if found.needed else "more than 1,000 seeds"
    return (
        f"No difference between {label} and {first} beyond noise: {found.mean:+.4f} {name} ({interval}). If the true "
        f"difference is as large as the one seen, {seeds} would show it four times out of five."
    )


def short(name: str) -> str:
    """Return a metric's name without Ultralytics' prefix."""
    return name.partition("/")[2] or name


def warnings(plan: Plan, found: Sequence[Outcome]) -> list[str]:
    """Say what a reader has to know besides: runs that failed, losses that were no number, classes without labels."""
    lines = [
        f"{one.run.label}, seed {one.run.seed} failed: {one.failure} (the whole log: {one.run.folder / 'log.txt'}). "
        "The same command tries it again."
        for one in found
        if one.result is None
    ]
    lines += [
        f"{one.run.label}, seed {one.run.seed}: the loss was no number in epoch {one.nan_epoch}."
        for one in found
        if one.nan_epoch is not None
    ]
    missing = without_labels(found)
    if missing:
        lines.append(
            f"The validation images have no labels of {', '.join(missing)}: nothing is said about these classes."
        )
    if len(plan.models) > 2:
        lines.append(
            f"{len(plan.models) - 1} models are compared with the first; the intervals are widened so that all of them "
            f"hold together with {CONFIDENCE:.0%} confidence (Bonferroni)."
        )
    return lines
