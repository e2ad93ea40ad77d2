"""Says what of two models beside their layers may be the reason for a difference: their starts, scales and sizes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from yolo_focal.comparison.report.analysis import Pair
from yolo_focal.comparison.report.i18n import phrase
from yolo_focal.comparison.stats import starts
from yolo_focal.comparison.store.run_result import Work
from yolo_focal.comparison.study.plan import Plan


def about(plan: Plan, pair: Pair, works: Mapping[str, Work]) -> Iterator[str]:
    """Say what of two models beside their layers may be the reason for a difference.

    Args:
        plan: The comparison.
        pair: The models.
        works: What the runs of each model did, of which none may have finished.
    """
    lang = plan.options.lang
    first, other = (works.get(label) for label in pair)
    start = starts.difference(first.layers or {}, other.layers or {}) if first and other else None
    if start is not None:
        yield phrase(lang, "unequal_starts", **pair._asdict(), tensors=start.tensors, a=start.first, b=start.other)
    assumed = [model for model in plan.models if model.label in pair and model.assumed]
    if len(assumed) == 1:
        yield phrase(lang, "assumed_scale", label=assumed[0].label, scale=assumed[0].assumed)
    for model in plan.models:
        if model.label == pair.other and model.width is not None:
            yield phrase(lang, "control", other=model.label, first=plan.labels[0], width=model.width)
            (a, of_a), (b, of_b) = ((work and work.transferred) or [0, 0] for work in (first, other))
            key = "control_behind" if a * of_b > b * of_a else "control_size"
            yield phrase(lang, key, **pair._asdict(), a=a, of_a=of_a, b=b, of_b=of_b)
