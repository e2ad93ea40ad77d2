"""A comparison of made-up runs: its plan, and what each run has come to."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import runs

from yolo_focal.comparison.launch.devices import Slot
from yolo_focal.comparison.store.results_csv import Curve
from yolo_focal.comparison.study.dataset import Dataset, Label, Split
from yolo_focal.comparison.study.models import Model
from yolo_focal.comparison.study.plan import Plan, Run
from yolo_focal.comparison.study.request import Options
from yolo_focal.comparison.study.results import RunOutcome


def plan(folder: Path, labels: str = "ab", **options: Any) -> Plan:
    """Return a plan for some models, each called by a letter."""
    labelled = [Label("1", {0: 3}), Label("2", {1: 2})]
    splits = {name: Split(["1.jpg", "2.jpg"], labelled) for name in ("train", "val", "test")}
    dataset = Dataset("d.yaml", "detect", ["cat", "dog"], splits, {})
    options = {"seeds": 5, **options}
    return Plan(
        folder=folder,
        models=[Model(label, f"{label}.yaml", f"{label}.yaml", "detect", "0", 3_000_000) for label in labels],
        dataset=dataset,
        options=Options(**options),
        user_arguments={"epochs": 50},
        arguments={"epochs": 50, "device": None},
        per_run={"workers": 2, "threads": 1, "last_epochs": 5},
        looks=[options["seeds"]],
        test=False,
        slots=[Slot("cpu", None, "cpu")],
        fingerprint="0",
    )


def outcome(folder: Path, label: str, seed: int, score: float, **other: Any) -> RunOutcome:
    """Return a run that has finished, with what it has done on top."""
    result = runs.result(score, {"order": f"{seed}", **other.pop("work", {})}, **other)
    run = Run(folder / label / f"seed{seed}", label, seed, None, "d.yaml", "0")
    return RunOutcome(run, result, "", Curve([score / 2, score], None))


def changed(ended: RunOutcome, **other: Any) -> RunOutcome:
    """Return a run that has come to something else."""
    assert ended.result is not None
    return ended._replace(result=replace(ended.result, **other))


def outcomes(folder: Path, apart: float = 0.1, seeds: int = 5, labels: str = "ab") -> list[RunOutcome]:
    rng = np.random.default_rng(0)
    return [
        outcome(folder, label, seed, 0.5 + apart * index + float(rng.normal(0, 0.01)))
        for seed in range(seeds)
        for index, label in enumerate(labels)
    ]
