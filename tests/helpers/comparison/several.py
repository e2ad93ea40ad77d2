"""Comparisons over several data sets whose runs have ended without having been trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import few
import runs

from yolo_focal.comparison.report.analysis import Pair
from yolo_focal.comparison.report.over_sets.analysis import SetsAnalysis, analyse_sets, one_set
from yolo_focal.comparison.store.run_folder import write_result
from yolo_focal.comparison.store.run_result import Ablated
from yolo_focal.comparison.study.ablation import of_model
from yolo_focal.comparison.study.plan import begin
from yolo_focal.comparison.study.registered import Registered
from yolo_focal.comparison.study.request import Options, Request, Whole, check, on
from yolo_focal.comparison.study.results import read_results

FOLDER = Path("runs/compare/compare")
PAIR = ["yolov8n.yaml", "yolov8n-focal.yaml"]
FOCAL = Pair("yolov8n", "yolov8n-focal")
PLANS = [Registered("2026-11-27 02:44:21", "023262fbfb305dfd", 0, ["a", "b", "c"], 2)]
Score = Callable[[str, str, int], "float | None"]  # of a run, by data set, model and seed
SETS = ["a.yaml", "b.yaml", "c.yaml"]


def draw_sets() -> None:
    """Draw three small data sets into the working folder, each with another number of images."""
    for number, file in enumerate(SETS):
        folder = Path("sets", Path(file).stem)
        few.draw(folder, train=3 + number, val=2 + number)
        Path(file).write_text(few.yaml_of(folder))


def requests(
    files: list[str] | None = None,
    models: list[str] | None = None,
    options: Mapping[str, Any] | None = None,
    **given: Any,
) -> dict[str, Request]:
    """Return what is asked for, by data set."""
    files = files or SETS
    first = check(files[0], models or PAIR, Options(**{"seeds": 2, **(options or {})}), {"epochs": 3, **given})
    whole = Whole("compare", files)
    return {Path(file).stem: replace(on(first, file), whole=whole) for file in files}


def end_all(folder: Path, asked: Mapping[str, Request], score: Score, kept: Mapping[str, float] | None = None) -> None:
    """Write what all runs have come to.

    Args:
        folder: The comparison's.
        asked: What is asked for, by data set.
        score: Returns a run's score; None for a run that has not ended.
        kept: The share of its score that a model keeps without its layer, by data set.
    """
    for label, request in asked.items():
        for run in begin(folder / label, request)[1]:
            found = score(label, run.label, run.seed)
            ablations = [
                Ablated(rows=one.rows, by=one.by, score=0.5, without=0.5 * kept[label])
                for one in (of_model(request.models, run.label) if kept else [])
            ]
            if found is not None:
                run.folder.mkdir(parents=True, exist_ok=True)
                write_result(run.folder, runs.result(found, fingerprint=run.fingerprint, ablations=ablations))


def apart(**differences: float) -> Score:
    """Return the scores of models that differ by as much on each set with every seed."""
    return lambda label, model, seed: 0.5 + 0.02 * seed + (differences[label] if model == FOCAL.other else 0)


BETTER = apart(a=0.06, b=0.01, c=0.03)


def analysed(
    score: Score, plans: list[Registered] = PLANS, kept: Mapping[str, float] | None = None, **asked: Any
) -> SetsAnalysis:
    """Return the analysis of a comparison whose runs have come to these scores."""
    its = requests(**asked)
    end_all(FOLDER, its, score, kept)
    begun = {label: begin(FOLDER / label, request) for label, request in its.items()}
    sets = {label: one_set(plan, read_results(plan, of_plan)) for label, (plan, of_plan) in begun.items()}
    return analyse_sets(sets, plans)
