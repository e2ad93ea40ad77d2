"""Writes what a comparison has found: a table, a summary, plots, and a report in one file that needs no network."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import polars as pl

from yolo_focal.comparison.launch import devices
from yolo_focal.comparison.report import layers, model_cost, plots, verdicts
from yolo_focal.comparison.report.analysis import Analysis, Pair
from yolo_focal.comparison.report.i18n import phrase
from yolo_focal.comparison.report.model_cost import Cost
from yolo_focal.comparison.stats.paired_t import CONFIDENCE, Difference
from yolo_focal.comparison.store.files import read_json, write, write_json
from yolo_focal.comparison.store.progress import RunProgress, summary
from yolo_focal.comparison.store.progress import table as progress_table
from yolo_focal.comparison.store.run_folder import SCHEMA, short, training_folder
from yolo_focal.comparison.study.plan import Plan
from yolo_focal.comparison.study.results import AP, SHARE, RunOutcome

_TEMPLATE = Path(__file__).with_name("report.html")
_COSTS = "costs.json"
_REFRESH = 20  # seconds after which a browser loads an interim report anew


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
    _render(plan, runs, refresh=_REFRESH, verdicts=lines, progress="\n".join(progress_table(progress)), plots=curves)


def _known_costs(plan: Plan) -> dict[str, Cost]:
    return model_cost.from_json(read_json(plan.folder / _COSTS), plan.labels) or {}


def _write(analysis: Analysis, outcomes: Sequence[RunOutcome], runs: pl.DataFrame, costs: Mapping[str, Cost]) -> None:
    plan = analysis.plan
    lang = plan.options.lang
    drawn = plots.draw(analysis, outcomes, costs, plan.folder)
    write_json(plan.folder / "summary.json", _summary(analysis, outcomes, costs))
    _render(
        plan,
        runs,
        verdicts=verdicts.verdicts(analysis),
        scored_by=verdicts.scored_by(plan),
        shares=list(layers.about(plan, analysis.layers)),
        warnings=verdicts.warnings(analysis, outcomes),
        models=[_model_row(analysis, label, outcomes, costs.get(label)) for label in plan.labels],
        on_gpu=any(cost.device for cost in costs.values()),
        notes=[f"{label}: {note}" for label, cost in costs.items() for note in cost.notes],
        plots=drawn,
        scores=[row for name, by_pair in analysis.by_score.items() for row in _rows(name, by_pair, lang)],
        tables=list(_tables(analysis)),
        methods=list(_methods(analysis, outcomes)),
    )


def _render(plan: Plan, runs: pl.DataFrame, **parts: Any) -> None:
    """Write `report.html`; parts of the page that are not given are left out."""
    environment = jinja2.Environment(autoescape=True)
    lang = plan.options.lang
    # A table that fits a sheet of paper: the AP of each class and size and the shares of layers are in results.csv.
    shown = runs.select(
        name
        for name in runs.columns
        if not name.startswith((AP, SHARE)) and (name != "failure" or any(failure for failure in runs["failure"]))
    )
    page = environment.from_string(_TEMPLATE.read_text(encoding="utf-8")).render(
        lang=lang,
        t=lambda key, **values: phrase(lang, key, **values),
        title=phrase(lang, "title", models=", ".join(plan.labels), data=Path(plan.dataset.name).name),
        metric=short(plan.metric),
        level=CONFIDENCE,
        columns=[short(name) for name in shown.columns],
        runs=[[_cell(value) for value in row] for row in shown.iter_rows()],
        command=command(plan),
        **parts,
    )
    write(plan.folder / "report.html", page)


def command(plan: Plan) -> str:
    """Return the command that goes on with a comparison."""
    options = {
        key: value for key, value in plan.options._asdict().items() if value != plan.options._field_defaults[key]
    }
    own = {
        "data": plan.dataset.name,
        "models": ",".join(
            plan.screening.models if plan.screening else (model.name for model in plan.models if model.width is None)
        ),
        "seeds": plan.options.seeds,
    }
    arguments = {**own, "name": plan.folder.name, **options, **plan.user_arguments}
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
                "over_seeds": _json(difference),
                "over_images": _json(analysis.over_images.get(pair)),
                "by_score": {name: _json(by_pair[pair]) for name, by_pair in analysis.by_score.items()},
                "by_class": {name: _json(value) for name, value in analysis.by_class[pair].items()},
                "by_size": {name: _json(value) for name, value in analysis.by_size[pair].items()},
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


def _json(value: Any) -> Any:
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


def _tables(analysis: Analysis) -> Iterator[tuple[str, str, list[list[str]]]]:
    """Yield the title, the first column's head and the rows of the tables by class and by size."""
    lang = analysis.plan.options.lang
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
                yield phrase(lang, title, first=pair.first, other=pair.other), phrase(lang, head), rows


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
