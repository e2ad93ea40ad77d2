"""Writes what a comparison has found: a table, a summary, plots, and a report in one file that needs no network."""

from __future__ import annotations

import platform
import shlex
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jinja2
import polars as pl

from yolo_focal.comparison import plots, words
from yolo_focal.comparison.files import write, write_json
from yolo_focal.comparison.plan import Plan
from yolo_focal.comparison.profile import Profile
from yolo_focal.comparison.statistics import Difference
from yolo_focal.comparison.table import Outcome, differences, metric

_TEMPLATE = Path(__file__).with_name("report.html")


def write_report(
    plan: Plan, found: Sequence[Outcome], runs: pl.DataFrame, profiles: Mapping[str, Profile]
) -> list[str]:
    """Write `results.csv`, `summary.json`, the plots and `report.html` to the comparison's folder.

    Returns:
        What is said of each model, in words.
    """
    compared = differences(plan, found)
    verdicts = [words.verdict(plan, label, one) for label, one in compared.items()]
    warnings = words.warnings(plan, found)
    drawn = plots.draw(plan, found, profiles, plan.folder)
    write(plan.folder / "results.csv", runs.write_csv())
    write_json(plan.folder / "summary.json", _summary(plan, compared, verdicts, warnings, profiles))
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    page = environment.from_string(_TEMPLATE.read_text(encoding="utf-8")).render(
        title=f"{', '.join(plan.models)} on {Path(plan.data).name}",
        verdicts=verdicts,
        warnings=warnings,
        metric=words.short(metric(plan)),
        models=[_row(plan, label, found, profiles.get(label)) for label in plan.models],
        notes=_notes(profiles),
        plots=drawn,
        columns=[words.short(name) for name in runs.columns],
        runs=[[_cell(value) for value in row] for row in runs.iter_rows()],
        command=_command(plan),
        methods=_methods(plan),
    )
    write(plan.folder / "report.html", page)
    return verdicts + warnings


def _summary(
    plan: Plan,
    compared: Mapping[str, Difference | None],
    verdicts: list[str],
    warnings: list[str],
    profiles: Mapping[str, Profile],
) -> dict[str, Any]:
    return {
        "metric": metric(plan),
        "first": next(iter(plan.models)),
        "differences": {
            label: None if one is None else {key: _number(value) for key, value in one._asdict().items()}
            for label, one in compared.items()
        },
        "words": verdicts,
        "warnings": warnings,
        "profiles": {label: one._asdict() for label, one in profiles.items()},
        "command": _command(plan),
    }


def _number(value: Any) -> Any:
    """JSON has no nan."""
    return None if value != value else value


def _row(plan: Plan, label: str, found: Sequence[Outcome], profile: Profile | None) -> list[str]:
    scores = [one.result["metrics"][metric(plan)] for one in found if one.run.label == label and one.result]
    mean = f"{sum(scores) / len(scores):.4f} ({min(scores):.4f} to {max(scores):.4f})" if scores else "-"
    row = [label, mean, str(len(scores))]
    if profile is None:
        return [*row, "-", "-", "-", "-"]
    times = [
        f"{one[1]:.1f} ({one[0]:.1f} to {one[2]:.1f})" if one else "-" for one in (profile.pytorch, profile.onnxruntime)
    ]
    return [*row, f"{profile.parameters:,}", f"{profile.gflops:.2f}", *times]


def _notes(profiles: Mapping[str, Profile]) -> list[str]:
    return [f"No time of {label} in onnxruntime: {one.note}." for label, one in profiles.items() if one.note]


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def _command(plan: Plan) -> str:
    own = {"data": plan.data, "models": ",".join(plan.given), "seeds": plan.seeds, "name": plan.folder.name}
    return "yolo-focal compare " + " ".join(
        shlex.quote(f"{key}={value}") for key, value in {**own, **plan.arguments}.items()
    )


def _methods(plan: Plan) -> list[str]:
    names = ("yolo-focal", "ultralytics", "torch")
    return [
        f"Each model was trained with the seeds 0 to {plan.seeds - 1} by Ultralytics' own trainer, with the same "
        "arguments, and validated by it at its best epoch. A seed sets the new layers' weights, the order of the "
        "images and their augmentation; each epoch's random numbers depend on the seed and the epoch alone, so that a "
        "run that was interrupted ends as one that was not.",
        "The difference of two models is that of the runs of the same seed. Its interval is that of a paired t test "
        "over the seeds: it says how far other seeds would move the result, not how far other data would.",
        "Times are medians with quartiles of 30 single images, the models in turns, on the CPU of this machine, after "
        "all training had ended.",
        f"{', '.join(f'{name} {version(name)}' for name in names)}, Python {platform.python_version()}, "
        f"{platform.platform()}; {plan.threads} CPU threads and {plan.loaders} data loader workers a run.",
    ]
