"""How long a run's epochs took, as it keeps that in a file, and the packages whose versions its result rests on."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from yolo_focal.comparison.store.files import read_json

PACKAGES = ("ultralytics", "torch", "yolo-focal")


class Times(NamedTuple):
    """What a run's file of times holds.

    Attributes:
        startup: Seconds from the process's start to its first epoch.
        epochs: By the epoch's number, counted from 0: its seconds, its CPU seconds, and a digest of its images.
    """

    startup: float
    epochs: dict[str, list[float]]


def read_times(file: Path) -> Times:
    """Read a run's file of times; without any epoch if it is missing or cut off."""
    try:
        return Times(**read_json(file))
    except TypeError:
        return Times(0.0, {})
