"""What has become of each run, and all of them as one table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from yolo_focal.comparison.store.results_csv import Curve, read_curve
from yolo_focal.comparison.store.run_folder import LOG, result_of, training_folder
from yolo_focal.comparison.store.run_result import RunResult
from yolo_focal.comparison.study.plan import Plan, Run

AP = "AP50-95 "  # what the columns of a class or a size begin with
SHARE = "share of "  # what the columns begin with of layers whose outputs were replaced
_LONGEST = 200  # characters of a log's last line


class RunOutcome(NamedTuple):
    """What has become of a run.

    Attributes:
        run: The run.
        result: What it has written in the end; None if it has not finished.
        failure: The last line that it has printed, if it has not finished.
        curve: Its learning curve, as far as it has come.
    """

    run: Run
    result: RunResult | None
    failure: str
    curve: Curve


def read_results(plan: Plan, runs: Sequence[Run]) -> list[RunOutcome]:
    """Read what the runs have left."""
    return [_read(run, plan.metric) for run in runs]


def table(plan: Plan, outcomes: Sequence[RunOutcome]) -> pl.DataFrame:
    """Return a row for each run: what it is, scores, Ultralytics' metrics, AP by class and size, cost, failure."""
    rows = [_row(plan, outcome) for outcome in outcomes]
    columns = dict.fromkeys(name for row in sorted(rows, key=lambda row: not row["finished"]) for name in row)
    last = [name for name in columns if name.startswith(AP)]
    ordered = [name for name in columns if name not in last] + last
    return pl.DataFrame([{name: row.get(name) for name in ordered} for row in rows], infer_schema_length=None)


def by_class(plan: Plan, result: RunResult) -> dict[str, float]:
    """Return a finished run's AP of each class that has labels, of the images that the verdict is about."""
    return (result.test if plan.test and result.test else result).classes


def by_size(plan: Plan, result: RunResult) -> dict[str, float]:
    """Return a finished run's AP of small, medium and large objects, of the images that the verdict is about."""
    return (result.test if plan.test and result.test else result).sizes


def _row(plan: Plan, outcome: RunOutcome) -> dict[str, Any]:
    run, result = outcome.run, outcome.result
    row: dict[str, Any] = {"model": run.label, "seed": run.seed}
    if run.fold is not None:
        row["fold"] = run.fold
    row["finished"] = result is not None
    row["epochs"] = len(outcome.curve.values)
    if result is not None:
        row |= {f"score {key}": value for key, value in result.scores.items()}
        row |= result.metrics
        row |= {f"test {key}": value for key, value in (result.test.metrics if result.test else {}).items()}
        row |= {f"{SHARE}rows {', '.join(map(str, one.rows))}": one.share for one in result.ablations}
        row |= {key: getattr(result, key) for key in ("seconds", "cpu_seconds", "peak_memory_mib")}
        row |= {f"{AP}{name}": value for name, value in by_class(plan, result).items()}
        row |= {f"{AP}of {size} objects": value for size, value in by_size(plan, result).items()}
    row["failure"] = outcome.failure
    return row


def _read(run: Run, metric: str) -> RunOutcome:
    result = result_of(run.folder, run.fingerprint)
    if result is not None:
        return RunOutcome(run, result, "", Curve(result.curve, result.nan_epoch))
    return RunOutcome(
        run, None, _last_line(run.folder / LOG), read_curve(training_folder(run.folder) / "results.csv", metric)
    )


def _last_line(log: Path) -> str:
    """Return the last line that a run has printed."""
    text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    lines = [line.strip() for line in text.replace("\r", "\n").splitlines() if line.strip()]
    return lines[-1][:_LONGEST] if lines else "it has not been started"
