"""Says whether the data test the layers at all in which models differ: which share of the score these carry."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from yolo_focal.comparison.report.i18n import phrase
from yolo_focal.comparison.stats import layer_share
from yolo_focal.comparison.stats.layer_share import BLIND, LayerShare
from yolo_focal.comparison.store.run_folder import Ablation
from yolo_focal.comparison.store.run_result import LEAST_SCORE
from yolo_focal.comparison.study.ablation import between
from yolo_focal.comparison.study.folds import test_fraction
from yolo_focal.comparison.study.models import Model
from yolo_focal.comparison.study.plan import Plan
from yolo_focal.comparison.study.results import RunOutcome


class PairShares(NamedTuple):
    """The shares of their scores that the layers carry in which a model differs from the first one.

    Attributes:
        first: Of the first model, which alone says whether the data are blind; None if it is not known.
        other: Of the other model; None if it is not known.
    """

    first: LayerShare | None
    other: LayerShare | None

    @property
    def is_blind(self) -> bool | None:
        """Whether the data cannot test the layers; None if it is not known."""
        return None if self.first is None else self.first.is_small

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        first, other = (share and share._asdict() for share in self)
        return {"first": first, "other": other, "is_blind": self.is_blind}


def shares(plan: Plan, outcomes: Sequence[RunOutcome]) -> dict[str, PairShares]:
    """Return what the layers carry in which models differ from the first one, by the other model's label.

    A model is left out whose rows do not say which of its layers those are.

    Args:
        plan: The comparison.
        outcomes: What has become of its runs.
    """
    first, *others = plan.models
    found = {other.label: between(first.rows, other.rows) for other in others}
    return {
        label: PairShares(_share(plan, outcomes, first.label, pair.first), _share(plan, outcomes, label, pair.other))
        for label, pair in found.items()
        if pair is not None
    }


def about(plan: Plan, found: Mapping[str, PairShares]) -> Iterator[str]:
    """Say of each model which share of the score its layers carry, and those of the first one in their place."""
    lang, (first, *others) = plan.options.lang, plan.models
    for model in others:
        pair, rows = found.get(model.label), between(first.rows, model.rows)
        if pair is None or rows is None or pair.first is None:
            continue
        said = [_said(lang, first, rows.first, pair.first)]
        if pair.other is not None:
            said.append(_said(lang, model, rows.other, pair.other))
        yield phrase(lang, "shares", list=", ".join(said))


def blind(plan: Plan, found: Mapping[str, PairShares], other: str) -> str:
    """Say that the data are blind to the layers in which a model differs from the first one; "" if they are not."""
    pair = found.get(other)
    if pair is None or pair.first is None or not pair.is_blind:
        return ""
    return phrase(plan.options.lang, "blind", first=plan.labels[0], kept=1 - pair.first.mean)


def methods(plan: Plan, found: Mapping[str, PairShares]) -> Iterator[str]:
    """Say how the shares were found, and of which models they were not."""
    lang, (first, *others) = plan.options.lang, plan.models
    if found:
        yield phrase(lang, "method_shares", split="test" if plan.test else "val", limit=BLIND, least=LEAST_SCORE)
    for key, is_same in (("no_share_same", True), ("no_share_other", False)):
        left_out = [model for model in others if (model.rows == first.rows) == is_same and model.label not in found]
        if left_out:
            yield phrase(lang, key, first=first.label, list=", ".join(model.label for model in left_out))


def _share(plan: Plan, outcomes: Sequence[RunOutcome], label: str, layers: Ablation) -> LayerShare | None:
    known = [
        one.share
        for outcome in outcomes
        if outcome.result is not None and outcome.run.label == label
        for one in outcome.result.ablations
        if (one.rows, one.by) == layers
    ]
    fraction = test_fraction(plan.options.folds) if plan.options.folds else None
    return layer_share.over_seeds([one for one in known if one is not None and math.isfinite(one)], fraction)


def _said(lang: str, model: Model, layers: Ablation, share: LayerShare) -> str:
    names = ", ".join(f"{index} ({model.rows[index][2]})" for index in layers.rows)
    rows = phrase(lang, "row" if len(layers.rows) == 1 else "rows", rows=names)
    over = phrase(lang, "share_range", **share._asdict()) if share.seeds > 1 else ""
    return phrase(lang, "share", rows=rows, model=model.label, share=share.mean, range=over)
