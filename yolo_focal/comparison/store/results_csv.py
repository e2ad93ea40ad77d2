"""Reads a training's learning curve, also from a file that was cut off."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import NamedTuple


class Curve(NamedTuple):
    """A learning curve.

    Attributes:
        values: The metric after each epoch.
        nan_epoch: The first epoch, counted from 1, whose loss was not finite; None if there is none.
    """

    values: list[float]
    nan_epoch: int | None


def read_curve(file: Path, metric: str) -> Curve:
    """Read the rows of Ultralytics' `results.csv` up to the first that is not whole; none where there is no file."""
    values: list[float] = []
    nan_epoch = None
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return Curve([], None)
    lines = text.splitlines()
    if not text.endswith("\n"):
        lines = lines[:-1]
    rows = csv.DictReader(lines, skipinitialspace=True)
    for row in rows:
        columns = {(name or "").strip(): _number(value) for name, value in row.items() if isinstance(value, str)}
        if len(columns) != len(rows.fieldnames or ()) or columns.get("epoch") != len(values) + 1:
            break
        losses = [value for name, value in columns.items() if "/" in name and name.endswith("loss")]
        if nan_epoch is None and any(not math.isfinite(value) for value in losses):
            nan_epoch = len(values) + 1
        values.append(columns.get(metric, math.nan))
    return Curve(values, nan_epoch)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
