"""Writes what a comparison has found: a table, a summary, plots, and a report in one file that needs no network."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from yolo_focal.comparison.launch import devices
from yolo_focal.comparison.report import layers, model_cost, plots, verdicts
from yolo_focal.comparison.report.analysis import Analysis, Pair
from yolo_focal.comparison.report.i18n import phrase
from yolo_focal.comparison.report.model_cost import Cost
from yolo_focal.comparison.report.page import REFRESH, Table, write_page
from yolo_focal.comparison.stats.paired_t import CONFIDENCE, Difference
from yolo_focal.comparison.store.files import read_json, write, write_json
from yolo_focal.comparison.store.progress import RunProgress, summary
from yolo_focal.comparison.store.progress import table as progress_table
from yolo_focal.comparison.store.run_folder import SCHEMA, short, training_folder
from yolo_focal.comparison.study.plan import Plan
from yolo_focal.comparison.study.results import AP, SHARE, RunOutcome

_COSTS = "costs.json"


def write_report(analysis: Analysis, outcomes: Sequence[RunOutcome], runs: pl.DataFrame) -> list[str]:
    """Write `results.csv`, `summary.json`, the plots and `report.html` to the comparison's folder.

    Returns:
        The verdict on each pair of models and the warnings, in words.
    """
    plan = analysis.plan
    write(plan.folder / "results.csv", runs.write_csv())
    _write(analysis, outcomes, runs, _known_costs(plan))
    said = [*verdicts.verdicts(analysis), verdicts.scored_by(plan), *layers.about(plan, analysis.layers)]
    return [*said, *verdicts.warnings(analysis, outcomes)]


def write_costs(analysis: Analysis, outcomes: Sequence[RunOutcome], runs: pl.DataFrame) -> None:
    """Measure what the models cost, unless that is known, and write the report anew with it."""
    plan = analysis.plan
    if _known_costs(plan):
        return
    first: dict[str, RunOutcome] = {}
    for outcome in outcomes:
        if outcome.result is not None:
            first.setdefault(outcome.run.label, outcome)
    if not first:
        return
    checkpoints = {
        label: training_folder(outcome.run.folder) / "weights" / "best.pt" for label, outcome in first.items()
    }
    results = [outcome.result for outcome in first.values() if outcome.result is not None]
    imgsz = max(result.work.imgsz for result in results)
    on_gpu = all(result.environment["device"].startswith("cuda") for result in results)
    gpu = next(iter(devices.numbers(plan.arguments.get("device"))), 0)
    costs = model_cost.measure(checkpoints, imgsz, f"cuda:{gpu}" if on_gpu else "cpu")
    write_json(plan.folder / _COSTS, model_cost.as_json(costs))
    _write(analysis, outcomes, runs, costs)


def write_interim_report(
    plan: Plan, outcomes: Sequence[RunOutcome], runs: pl.DataFrame, progress: Sequence[RunProgress]
) -> None:
    """Write a `report.html` without a verdict while runs go on; it loads itself anew every few seconds.

    Args:
        plan: The comparison.
        outcomes: What has become of the runs so far.
        runs: The same as a table.
        progress: How far each run is.
    """
    finished = sum(outcome.result is not None for outcome in outcomes)
    lines = [
        phrase(plan.options.lang, "unfinished", done=finished, all=len(outcomes)),
        summary(progress, len(plan.slots)),
    ]
    curves = plots.draw_curves(plan, outcomes, plan.folder)
    shown = "\n".join(progress_table(progress))
    _render(plan, refresh=REFRESH, verdicts=lines, progress=shown, plots=curves, tables=[_runs(plan, runs)])


def _known_costs(plan: Plan) -> dict[str, Cost]:
    return model_cost.from_json(read_json(plan.folder / _COSTS), plan.labels) or {}


def _write(analysis: Analysis, outcomes: Sequence[RunOutcome], runs: pl.DataFrame, costs: Mapping[str, Cost]) -> None:
    plan = analysis.plan
    lang = plan.options.lang
    drawn = plots.draw(analysis, outcomes, costs, plan.folder)
    write_json(plan.folder / "summary.json", _summary(analysis, outcomes, costs))
    _render(
        plan,
        verdicts=verdicts.verdicts(analysis),
        scored_by=verdicts.scored_by(plan),
        shares=list(layers.about(plan, analysis.layers)),
        warnings=verdicts.warnings(analysis, outcomes),
        models=_models(analysis, outcomes, costs),
        notes=[f"{label}: {note}" for label, cost in costs.items() for note in cost.notes],
        plots=drawn,
        tables=[*_tables(analysis), _runs(plan, runs, phrase(lang, "runs_table"))],
        methods=list(_methods(analysis, outcomes)),
    )


def _render(plan: Plan, **parts: Any) -> None:
    """Write `report.html` with what every report of one data set has, and further parts."""
    lang = plan.options.lang
    write_page(
        plan.folder / "report.html",
        lang,
        title=phrase(lang, "title", models=", ".join(plan.labels), data=Path(plan.dataset.name).name),
        whole=phrase(lang, "whole", sets=len(plan.whole.data)) if plan.whole else None,
        command=command(plan),
        **parts,
    )


def _runs(plan: Plan, runs: pl.DataFrame, note: str = "") -> Table:
    """Return the page's table of the runs."""
    # A table that fits a sheet of paper: the AP of each class and size and the shares of layers are in results.csv.
    shown = runs.select(
        name
        for name in runs.columns
        if not name.startswith((AP, SHARE)) and (name != "failure" or any(failure for failure in runs["failure"]))
    )
    rows = [[_cell(value) for value in row] for row in shown.iter_rows()]
    return Table(phrase(plan.options.lang, "runs"), [short(name) for name in shown.columns], rows, note)


def command(plan: Plan) -> str:
    """Return the command that goes on with a comparison."""
    options = {
        key: value for key, value in plan.options._asdict().items() if value != plan.options._field_defaults[key]
    }
    name, data = plan.whole or (plan.folder.name, [plan.dataset.name])
    own = {
        "data": ",".join(data),
        "models": ",".join(
            plan.screening.models if plan.screening else (model.name for model in plan.models if model.width is None)
        ),
        "seeds": plan.options.seeds,
    }
    arguments = {**own, "name": name, **options, **plan.user_arguments}
    return "yolo-focal compare " + " ".join(shlex.quote(f"{key}={value}") for key, value in arguments.items())


def _summary(analysis: Analysis, outcomes: Sequence[RunOutcome], costs: Mapping[str, Cost]) -> dict[str, Any]:
    """Return what `summary.schema.json` describes."""
    plan = analysis.plan
    return {
        "schema": SCHEMA,
        "metric": plan.metric,
        "score": analysis.score,
        "confidence": CONFIDENCE,
        "models": plan.labels,
        "scores": {label: list(scores.values()) for label, scores in analysis.scores.items()},
        "differences": [
            {
                "first": pair.first,
                "other": pair.other,
                "over_seeds": as_json(difference),
                "over_images": as_json(analysis.over_images.get(pair)),
                "by_score": {name: as_json(by_pair[pair]) for name, by_pair in analysis.by_score.items()},
                "by_class": {name: as_json(value) for name, value in analysis.by_class[pair].items()},
                "by_size": {name: as_json(value) for name, value in analysis.by_size[pair].items()},
                "layers": analysis.layers[pair.other].as_json()
                if pair.first == plan.labels[0] and pair.other in analysis.layers
                else None,
            }
            for pair, difference in analysis.over_seeds.items()
        ],
        "words": verdicts.verdicts(analysis),
        "warnings": verdicts.warnings(analysis, outcomes),
        "costs": model_cost.as_json(costs),
        "environments": _environments(outcomes),
        "screening": plan.screening.as_json() if plan.screening else None,
        "command": command(plan),
    }


def as_json(value: Any) -> Any:
    """Return a named tuple as a JSON object, with null for numbers that are not finite."""
    if value is None:
        return None
    fields = value._asdict()
    return {key: None if isinstance(item, float) and not math.isfinite(item) else item for key, item in fields.items()}


def _environments(outcomes: Sequence[RunOutcome]) -> list[dict[str, str]]:
    """Return the different environments that the runs were trained in."""
    found: list[dict[str, str]] = []
    for outcome in outcomes:
        if outcome.result is not None and outcome.result.environment not in found:
            found.append(outcome.result.environment)
    return found


def _models(analysis: Analysis, outcomes: Sequence[RunOutcome], costs: Mapping[str, Cost]) -> Table:
    """Return the page's table of the models, with the column of the GPU where one was measured."""
    plan = analysis.plan
    lang = plan.options.lang
    names = ("finished", "training_time", "memory", "parameters", "gflops", "cpu_ms", "onnx_ms", "device_ms")
    head = [phrase(lang, "model"), phrase(lang, "range", metric=short(plan.metric)), *(phrase(lang, n) for n in names)]
    rows = [_model_row(analysis, label, outcomes, costs.get(label)) for label in plan.labels]
    width = len(head) if any(cost.device for cost in costs.values()) else len(head) - 1
    return Table(phrase(lang, "models"), head[:width], [row[:width] for row in rows])


def _model_row(analysis: Analysis, label: str, outcomes: Sequence[RunOutcome], cost: Cost | None) -> list[str]:
    scores = list(analysis.scores[label].values())
    mean = f"{sum(scores) / len(scores):.4f} ({min(scores):.4f} to {max(scores):.4f})" if scores else "-"
    results = [outcome.result for outcome in outcomes if outcome.run.label == label and outcome.result is not None]
    seconds, memory = (
        f"{sum(getattr(result, key) for result in results) / len(results):.0f}" if results else "-"
        for key in ("seconds", "peak_memory_mib")
    )
    row = [label, mean, str(len(scores)), seconds, memory]
    if cost is None:
        return [*row, "-", "-", "-", "-", "-"]
    times = [f"{one[1]:.1f} ({one[0]:.1f} to {one[2]:.1f})" if one else "-" for one in (cost.cpu, cost.onnxruntime)]
    device = f"{cost.device[1]:.2f}" if cost.device else "-"
    parameters = "-" if cost.parameters is None else f"{cost.parameters:,}"
    gflops = "-" if cost.gflops is None else f"{cost.gflops:.2f}"
    return [*row, parameters, gflops, *times, device]


def _rows(name: str, by_pair: Mapping[Pair, Difference | None], lang: str) -> Iterator[list[str]]:
    for pair, difference in by_pair.items():
        if difference is not None:
            yield [phrase(lang, name), f"{pair.other} - {pair.first}", *_figures(difference, lang)]


def _figures(difference: Difference, lang: str) -> list[str]:
    """Return a difference, its interval, and whether it is more than noise."""
    if math.isnan(difference.low):
        return [f"{difference.mean:+.4f}", "-", "-"]
    noise = phrase(lang, "yes" if difference.is_more_than_noise else "no")
    return [f"{difference.mean:+.4f}", f"{difference.low:+.4f} to {difference.high:+.4f}", noise]


def _tables(analysis: Analysis) -> Iterator[Table]:
    """Yield the tables of differences: by other scores, by class and by size."""
    lang = analysis.plan.options.lang
    columns = [phrase(lang, "difference"), phrase(lang, "interval_head", level=CONFIDENCE)]
    columns.append(phrase(lang, "more_than_noise"))
    scores = [row for name, by_pair in analysis.by_score.items() for row in _rows(name, by_pair, lang)]
    if scores:
        yield Table(phrase(lang, "other_scores"), [phrase(lang, "score"), "", *columns], scores)
    for pair in analysis.over_seeds:
        for title, head, by_name in (
            ("classes", "class", analysis.by_class[pair]),
            ("sizes", "size", analysis.by_size[pair]),
        ):
            rows = [
                [phrase(lang, name) if head == "size" else name, *_figures(difference, lang)]
                for name, difference in sorted(by_name.items(), key=lambda item: -item[1].mean)
            ]
            if len(rows) > 1 or (rows and head == "size"):
                yield Table(phrase(lang, title, **pair._asdict()), [phrase(lang, head), *columns], rows)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4f}" if abs(value) < 100 else f"{value:.0f}"  # a score, or seconds and MiB
    return str(value)


def _methods(analysis: Analysis, outcomes: Sequence[RunOutcome]) -> Iterator[str]:
    plan = analysis.plan
    lang = plan.options.lang
    yield phrase(lang, "method_runs", first=plan.options.seed, last=plan.options.seed + plan.options.seeds - 1)
    if not plan.arguments.get("time") and not any("snapshots" in o.result.without for o in outcomes if o.result):
        yield phrase(lang, "method_epochs")
    if plan.options.folds:
        yield phrase(lang, "method_folds", folds=plan.options.folds)
    yield phrase(lang, "method_seeds")
    resamples = [images.resamples for images in analysis.over_images.values() if images is not None]
    if resamples:
        yield phrase(lang, "method_images", resamples=min(resamples))
    yield from layers.methods(plan, analysis.layers)
    if plan.options.control and plan.models[-1].width is None:
        yield phrase(lang, "method_no_control", first=plan.labels[0])
    yield phrase(lang, "method_times")
    for environment in _environments(outcomes):
        versions = ", ".join(f"{key} {value}" for key, value in environment.items() if key not in {"device", "host"})
        yield phrase(lang, "method_versions", versions=versions, device=environment["device"], **plan.per_run)
