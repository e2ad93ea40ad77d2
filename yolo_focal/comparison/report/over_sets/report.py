"""Writes what a comparison over data sets has found: tables, a summary, forest plots and a report in one file."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from yolo_focal.comparison.report import plots, report
from yolo_focal.comparison.report.analysis import Pair
from yolo_focal.comparison.report.i18n import phrase
from yolo_focal.comparison.report.over_sets import forest, tables, words
from yolo_focal.comparison.report.over_sets.analysis import OneSet, SetsAnalysis
from yolo_focal.comparison.report.page import REFRESH, write_page
from yolo_focal.comparison.stats.over_sets import OverSets
from yolo_focal.comparison.stats.paired_t import CONFIDENCE
from yolo_focal.comparison.store.files import write, write_json
from yolo_focal.comparison.store.progress import RunProgress, summary
from yolo_focal.comparison.store.progress import table as progress_table
from yolo_focal.comparison.store.run_folder import SCHEMA
from yolo_focal.comparison.study.plan import Plan
from yolo_focal.comparison.study.results import AP


def write_over_sets(
    folder: Path, analysis: SetsAnalysis, frames: Mapping[str, pl.DataFrame], notes: Mapping[str, Sequence[str]]
) -> tuple[list[str], pl.DataFrame]:
    """Write `results.csv`, `summary.json`, `table.md`, `table.tex`, the plots and `report.html`.

    Args:
        folder: That of the whole comparison.
        analysis: What the runs say.
        frames: Each set's table of runs.
        notes: The warnings of each set's own report.

    Returns:
        The verdict on each pair of models and the warnings, in words, and the table of all runs.
    """
    plan, lang = analysis.plan, analysis.plan.options.lang
    runs = _runs(frames)
    write(folder / "results.csv", runs.write_csv())
    found = [tables.overview(analysis), *(tables.by_set(analysis, pair) for pair in analysis.over_sets)]
    write(folder / "table.md", tables.markdown(found))
    write(folder / "table.tex", tables.latex(found))
    said, warnings = words.verdict_lines(analysis), words.warnings(analysis, notes)
    write_json(folder / "summary.json", _summary(analysis, said, warnings))
    drawn = [forest.plot(analysis, number, pair) for number, pair in enumerate(analysis.over_sets, 1)]
    write_page(
        folder / "report.html",
        lang,
        title=_title([one.plan for one in analysis.sets.values()]),
        verdicts=said,
        scored_by=words.scored_by(analysis),
        warnings=warnings,
        plots=plots.save(drawn, folder, "png", "pdf"),
        tables=found,
        command=report.command(plan),
        methods=[*words.about_plans(analysis), *_methods(analysis)],
    )
    return [*said, words.scored_by(analysis), *warnings], runs


def write_interim(folder: Path, plans: Sequence[Plan], progress: Sequence[RunProgress], places: int) -> None:
    """Write a `report.html` without a verdict while runs go on; it loads itself anew every few seconds.

    Args:
        folder: That of the whole comparison.
        plans: The comparison of each data set.
        progress: How far each run is.
        places: Number of runs at once.
    """
    write_page(
        folder / "report.html",
        plans[0].options.lang,
        refresh=REFRESH,
        title=_title(plans),
        verdicts=[phrase(plans[0].options.lang, "sets_unfinished"), summary(progress, places)],
        progress="\n".join(progress_table(progress)),
        command=report.command(plans[0]),
    )


def _runs(frames: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """Return all sets' runs in one table, without the AP of classes and sizes, which each set's own table has."""
    named = [
        frame.select(pl.lit(label).alias("set"), *(name for name in frame.columns if not name.startswith(AP)))
        for label, frame in frames.items()
    ]
    return pl.concat(named, how="diagonal_relaxed")


def _title(plans: Sequence[Plan]) -> str:
    return phrase(plans[0].options.lang, "sets_title", models=", ".join(plans[0].labels), sets=len(plans))


def _methods(analysis: SetsAnalysis) -> Iterator[str]:
    options = analysis.plan.options
    yield phrase(options.lang, "method_runs", first=options.seed, last=options.seed + options.seeds - 1)
    if options.folds:
        yield phrase(options.lang, "method_folds", folds=options.folds)
    for key in ("method_sets", "method_sign_flip", "method_superiority", "method_own_reports"):
        yield phrase(options.lang, key)


def _summary(analysis: SetsAnalysis, said: list[str], warnings: list[str]) -> dict[str, Any]:
    """Return what `sets.schema.json` describes."""
    plan = analysis.plan
    return {
        "schema": SCHEMA,
        "metric": plan.metric,
        "confidence": CONFIDENCE,
        "models": plan.labels,
        "sets": {label: _set(one) for label, one in analysis.sets.items()},
        "differences": [
            {**pair._asdict(), **_difference(analysis, pair, found)} for pair, found in analysis.over_sets.items()
        ],
        "words": said,
        "warnings": warnings,
        "plans": [one._asdict() for one in analysis.registered],
        "command": report.command(plan),
    }


def _set(one: OneSet) -> dict[str, Any]:
    plan = one.plan
    return {
        "data": plan.dataset.name,
        "classes": len(plan.dataset.names),
        "images": {name: len(split.images) for name, split in plan.dataset.splits.items()},
        "scored_on": plan.scored_split,
        "scores": {label: list(scores.values()) for label, scores in one.scores.items()},
    }


def _difference(analysis: SetsAnalysis, pair: Pair, found: OverSets) -> dict[str, Any]:
    return {
        "over_sets": report.as_json(found.difference),
        "sign_flip_p": None if math.isnan(found.sign_flip_p) else found.sign_flip_p,
        "superiority": report.as_json(found.superiority),
        "better": found.better,
        "worse": found.worse,
        "of_sets": {label: report.as_json(analysis.sets[label].over_seeds[pair]) for label in found.of_sets},
        "left_out": [label for label in analysis.sets if label not in found.of_sets],
        "blind": analysis.blind(pair),
        "over_seeing": report.as_json(analysis.over_seeing[pair].difference),
    }
