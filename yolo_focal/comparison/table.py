"""The results of all runs as one table, and what they say of each model against the first."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from yolo_focal.comparison.plan import Plan, Run
from yolo_focal.comparison.run import LOG, METRICS, RESULT, TRAIN
from yolo_focal.comparison.statistics import Difference, difference

_WORDS = 160  # of a log's last line


class Outcome(NamedTuple):
    """What has become of a run.

    Attributes:
        run: The run.
        result: What it wrote in the end; None where it failed.
        failure: Why it failed.
        curve: The metric after each epoch.
        nan_epoch: The first epoch whose loss was no number.
    """

    run: Run
    result: dict[str, Any] | None
    failure: str
    curve: list[float]
    nan_epoch: int | None


def outcomes(plan: Plan, runs: Sequence[Run]) -> list[Outcome]:
    """Read what the runs have left."""
    return [_outcome(run, metric(plan)) for run in runs]


def metric(plan: Plan) -> str:
    """Return the name of the number that the models are compared by."""
    return METRICS.get(plan.task, "fitness")


def table(found: Sequence[Outcome]) -> pl.DataFrame:
    """Return a row for each run: model, seed, whether it finished, metrics, epochs, seconds, and why it failed."""
    rows = [
        {
            "model": one.run.label,
            "seed": one.run.seed,
            "finished": one.result is not None,
            **({} if one.result is None else one.result["metrics"]),
            "epochs": len(one.curve),
            "seconds": None if one.result is None else one.result["seconds"],
            "failure": one.failure,
        }
        for one in found
    ]
    names = dict.fromkeys(name for row in sorted(rows, key=lambda row: not row["finished"]) for name in row)
    return pl.DataFrame([{name: row.get(name) for name in names} for row in rows], infer_schema_length=None)


def differences(plan: Plan, found: Sequence[Outcome]) -> dict[str, Difference | None]:
    """Compare each model with the first by the seeds that both finished; None where there are none."""
    scores = {label: _scores(plan, found, label) for label in plan.models}
    first, *others = plan.models
    compared: dict[str, Difference | None] = {}
    for label in others:
        both = sorted(scores[first].keys() & scores[label].keys())
        before, after = ([scores[one][seed] for seed in both] for one in (first, label))
        compared[label] = difference(before, after, len(others)) if both else None
    return compared


def class_differences(plan: Plan, found: Sequence[Outcome], label: str) -> dict[str, Difference]:
    """Compare a model with the first class by class, as far as classes have labels."""
    first = next(iter(plan.models))
    both: dict[str, dict[int, dict[str, float]]] = {first: {}, label: {}}
    for one in found:
        if one.result is not None and one.run.label in both:
            both[one.run.label][one.run.seed] = one.result["classes"]
    seeds = sorted(both[first].keys() & both[label].keys())
    names = both[first][seeds[0]] if seeds else {}
    compared = {}
    for name in names:
        before, after = ([both[which][seed].get(name, math.nan) for seed in seeds] for which in (first, label))
        compared[name] = difference(before, after)
    return compared


def without_labels(found: Sequence[Outcome]) -> list[str]:
    """Return the classes that the validation images have no labels of."""
    for one in found:
        if one.result is not None and one.result["classes"]:
            return [name for name in one.result["names"] if name not in one.result["classes"]]
    return []


def _scores(plan: Plan, found: Sequence[Outcome], label: str) -> dict[int, float]:
    return {
        one.run.seed: one.result["metrics"][metric(plan)]
        for one in found
        if one.run.label == label and one.result is not None
    }


def _outcome(run: Run, name: str) -> Outcome:
    file = run.folder / RESULT
    result = json.loads(file.read_text(encoding="utf-8")) if file.exists() else None
    curve, nan_epoch = _curve(run.folder / TRAIN / "results.csv", name)
    return Outcome(run, result, "" if result else _failure(run.folder / LOG), curve, nan_epoch)


def _curve(file: Path, name: str) -> tuple[list[float], int | None]:
    """Read the metric after each epoch, and the first epoch whose loss was no number."""
    if not file.exists():
        return [], None
    frame = pl.read_csv(file, infer_schema_length=None)
    frame = frame.rename({column: column.strip() for column in frame.columns})  # older releases pad them
    losses = [column for column in frame.columns if "/" in column and column.endswith("loss")]
    lost = [
        epoch + 1
        for epoch, row in enumerate(frame.select(losses).cast(pl.Float64, strict=False).iter_rows())
        if any(value is None or not math.isfinite(value) for value in row)
    ]
    values = frame[name].cast(pl.Float64, strict=False).to_list() if name in frame.columns else []
    return [math.nan if value is None else value for value in values], lost[0] if lost else None


def _failure(log: Path) -> str:
    """Return the last line that a run has printed."""
    text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    lines = [line.strip() for line in text.replace("\r", "\n").splitlines() if line.strip()]
    return f"{lines[-1][:_WORDS] if lines else 'it has not been started'}"
