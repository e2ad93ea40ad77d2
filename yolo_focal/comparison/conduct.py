"""Carries a comparison out: plans it, starts what has not finished, and writes the report."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
from ultralytics.utils import LOGGER, RUNS_DIR, TQDM

from yolo_focal.comparison import engines
from yolo_focal.comparison.files import write_json
from yolo_focal.comparison.plan import Plan, Run, make
from yolo_focal.comparison.profile import Profile, profile
from yolo_focal.comparison.report import write_report
from yolo_focal.comparison.run import RESULT, TASK, TRAIN, Task
from yolo_focal.comparison.table import outcomes, table


def conduct(
    data: str,
    models: Sequence[str],
    seeds: int,
    name: str,
    workers: int,
    ray: bool,
    address: str | None,
    arguments: dict[str, Any],
) -> pl.DataFrame:
    """Carry a comparison out; see `compare`."""
    folder = Path(RUNS_DIR / "compare" / name)
    plan, runs = make(folder, data, models, seeds, workers, arguments)
    left = [one for one in runs if not _has_ended(one)]
    for one in left:
        one.folder.mkdir(parents=True, exist_ok=True)
        task = Task(plan.models[one.label], data, one.seed, arguments, plan.loaders, plan.threads)
        write_json(one.folder / TASK, task._asdict())
    LOGGER.info(f"{folder}: {len(runs)} runs, {len(runs) - len(left)} of them finished")
    progress = _Progress(runs, int(arguments.get("epochs", 100)))
    folders = [one.folder.absolute() for one in left]
    if ray:
        engines.on_ray(folders, workers, plan.threads, progress.look, address)
    else:
        engines.on_this_machine(folders, workers, plan.threads, progress.look)
    progress.close()
    found = outcomes(plan, runs)
    frame = table(found)
    for line in write_report(plan, found, frame, _profiles(plan, runs)):
        LOGGER.info(line)
    LOGGER.info(f"Results saved to {folder / 'report.html'}")
    return frame


class _Progress:
    """A bar of the epochs of all runs, which tells the time left."""

    def __init__(self, runs: Sequence[Run], epochs: int) -> None:
        self._runs, self._epochs = runs, epochs
        self._done = self._count()
        self._bar = TQDM(total=len(runs) * epochs, initial=self._done, desc="Epochs of all runs")

    def look(self) -> None:
        """Read how far the runs are."""
        done = self._count()
        if done > self._done:  # a run that failed and starts again has fewer
            self._bar.update(done - self._done)
            self._done = done

    def close(self) -> None:
        """End the bar."""
        self.look()
        self._bar.close()

    def _count(self) -> int:
        return sum(self._epochs if _has_ended(one) else _epochs(one) for one in self._runs)


def _has_ended(one: Run) -> bool:
    return (one.folder / RESULT).exists()


def _epochs(one: Run) -> int:
    file = one.folder / TRAIN / "results.csv"
    return max(0, file.read_text(encoding="utf-8").count("\n") - 1) if file.exists() else 0


def _profiles(plan: Plan, runs: Sequence[Run]) -> dict[str, Profile]:
    """Profile each model's first finished run; where it was done before, those numbers stay."""
    checkpoints: dict[str, Path] = {}
    for one in runs:
        if _has_ended(one):
            checkpoints.setdefault(one.label, one.folder / TRAIN / "weights" / "best.pt")
    file = plan.folder / "profiles.json"
    if file.exists():
        known = {label: Profile(**one) for label, one in json.loads(file.read_text(encoding="utf-8")).items()}
        if known.keys() == checkpoints.keys():
            return known
    if not checkpoints:
        return {}
    found = profile(checkpoints)
    write_json(file, {label: one._asdict() for label, one in found.items()})
    return found
