"""The layers in which models differ, and what each of them can be replaced by to see what it is good for.

A layer that stands in the place of another one is replaced by zeros, one that was inserted by its own input. Where that
does not lead from the rows of the one model to those of the other, nothing is replaced.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from yolo_focal.comparison.store.run_folder import INPUT, ZEROS, Ablation
from yolo_focal.comparison.study.models import Model

Rows = Sequence[Sequence[Any]]


class Ablations(NamedTuple):
    """The layers in which two models differ.

    Attributes:
        first: Those of the first model. For rows that were inserted into the other one, they are those that these read.
        other: Those of the other model.
    """

    first: Ablation
    other: Ablation


def between(first: Rows, other: Rows) -> Ablations | None:
    """Return the layers in which two models differ, by their rows of `[from, repeats, module, args]`.

    Returns:
        None if they do not differ, or in more than layers in the place of others, or that were inserted; also if their
        heads differ, which have no output that could be zero.
    """
    if len(first) > len(other):
        turned = between(other, first)
        return turned and Ablations(turned.other, turned.first)
    if len(first) == len(other):
        pairs = enumerate(zip(_with_sources(first), _with_sources(other), strict=True))
        replaced = [index for index, (one, another) in pairs if one != another]
        is_possible = bool(replaced) and len(first) - 1 not in replaced
        return Ablations(Ablation(replaced, ZEROS), Ablation(replaced, ZEROS)) if is_possible else None
    inserted = _inserted(first, other)
    if inserted is None or -1 in inserted.values():  # what reads the image has no layer before it
        return None
    return Ablations(Ablation(sorted({*inserted.values()}), ZEROS), Ablation([*inserted], INPUT))


def of_model(models: Sequence[Model], label: str) -> list[Ablation]:
    """Return the layers of a model of a comparison that are to be replaced: for the first one each set of them once."""
    first, *others = models
    found = [between(first.rows, other.rows) for other in others if label in {first.label, other.label}]
    chosen = [one.first if label == first.label else one.other for one in found if one is not None]
    return [one for index, one in enumerate(chosen) if one not in chosen[:index]]


def _inserted(first: Rows, other: Rows) -> dict[int, int] | None:
    """Return the rows of a model that another one does not have, and for each the row of that one that it reads.

    Returns:
        None unless the two are the same model as long as these rows hand on what they read.
    """
    rows, matched = _with_sources(first), 0
    stands_for = {-1: -1}  # for each row so far, the row of `first` whose output it has then
    inserted: dict[int, int] = {}
    for index, (sources, *row) in enumerate(_with_sources(other)):
        reads = [stands_for[source] for source in sources]
        if matched < len(rows) and rows[matched] == (reads, *row):
            stands_for[index] = matched
            matched += 1
        elif isinstance(other[index][0], int):
            stands_for[index] = inserted[index] = reads[0]
        else:
            return None
    return inserted if matched == len(rows) else None


def _with_sources(rows: Rows) -> list[tuple[Any, ...]]:
    """Return rows whose first entry lists the indices of the rows that they read; -1 is the image."""
    read = [[row[0]] if isinstance(row[0], int) else row[0] for row in rows]
    absolute = [[one if one >= 0 else index + one for one in sources] for index, sources in enumerate(read)]
    return [(sources, *row[1:]) for sources, row in zip(absolute, rows, strict=True)]
