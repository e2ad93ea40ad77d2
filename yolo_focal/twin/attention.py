"""The attention of YOLO11 and YOLO26: C2PSA, and C3k2 rows that end each stage with it, as row 22 of YOLO26 does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from yolo_focal.errors import ConfigError

C2PSA, C2FOCAL = "C2PSA", "C2Focal"
C3K2, _C3K2FOCAL = "C3k2", "C3k2Focal"


def in_c3k2(row: Sequence[Any]) -> bool:
    """Return whether a row is a C3k2 with attention: `[from, repeats, C3k2, [c2, c3k, e, attn]]`."""
    return bool(row[2] == C3K2 and row[3][3:4] == [True])


def without(row: Sequence[Any], where: str) -> tuple[str, list[Any]]:
    """Return the module and the arguments of a C3k2 row with attention when C3k2Focal stands in it.

    Args:
        row: The row.
        where: File and row, for messages.

    Raises:
        ConfigError: It has arguments that C3k2Focal does not take.
    """
    c2, _, e, _, *others = row[3]
    if others:
        raise ConfigError(
            f"{where}: {row[3]}: {_C3K2FOCAL} takes its place with c2 and e alone; write {[*row[3][:4]]} in it"
        )
    return _C3K2FOCAL, [c2, e]
