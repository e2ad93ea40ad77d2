"""Trains what has not finished of one comparison or of several data sets', and says meanwhile how far that is."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ultralytics.utils import LOGGER, TQDM

from yolo_focal.comparison.launch import local
from yolo_focal.comparison.launch.devices import Slot
from yolo_focal.comparison.launch.process import Job
from yolo_focal.comparison.report.over_sets.report import write_interim
from yolo_focal.comparison.report.report import write_interim_report
from yolo_focal.comparison.store.progress import FINISHED, RunProgress, in_words, read_progress, seconds_left, summary
from yolo_focal.comparison.store.run_folder import RunSpec, result_of
from yolo_focal.comparison.study import ablation
from yolo_focal.comparison.study.plan import Begun, Plan, Run
from yolo_focal.comparison.study.results import read_results, table

if TYPE_CHECKING:
    from yolo_focal.comparison.launch.ray_cluster import Cluster

# Bytes of disk for each parameter of a model, measured with SGD and AdamW: the two checkpoints of a finished run, and
# those of a training with two snapshots.
_FINISHED_BYTES, _TRAINING_BYTES = 5, 100


def train(folder: Path, begun: Sequence[Begun], cluster: Cluster | None, report: bool) -> None:
    """Train the runs that have not finished, in one queue: the first seed of all data sets and models first.

    Args:
        folder: That of the whole comparison.
        begun: The comparison, or that of each data set; models and arguments are the same.
        cluster: Where to train; None for this machine.
        report: Whether to write interim reports meanwhile.
    """
    queue = in_order(begun)
    left = [(plan, run) for plan, run in queue if result_of(run.folder, run.fingerprint) is None]
    slots = min((plan.slots for plan, _ in begun), key=len)
    for line in _announce(folder, len(queue), left, slots):
        LOGGER.info(line)
    jobs = [Job(run.folder.absolute(), task(plan, run)) for plan, run in left]
    for job in jobs:
        job.write()
    observer = _Observer(folder, begun, len(slots), report)
    if cluster:
        cluster.run(folder, jobs, begun[0][0].options.parallel, observer.look)
    else:
        local.on_this_machine(jobs, slots, observer.look)
    observer.close()


def in_order(begun: Sequence[Begun]) -> list[tuple[Plan, Run]]:
    """Return all runs in the order in which they are started: by seed, then by data set, fold and model."""
    return sorted(((plan, run) for plan, runs in begun for run in runs), key=lambda one: one[1].seed)


def task(plan: Plan, run: Run) -> RunSpec:
    """Return what a run is to train."""
    model = next(model for model in plan.models if model.label == run.label)
    own = {} if model.freeze is None else {"freeze": model.freeze}
    return RunSpec(
        model=model.file,
        data=run.data,
        seed=run.seed,
        arguments={**plan.arguments, **own},
        threads=plan.per_run["threads"],
        last_epochs=plan.per_run["last_epochs"],
        test=plan.test,
        snapshot_every=0 if plan.arguments.get("time") else plan.options.snapshot_every,
        metric=plan.metric,
        ablations=ablation.of_model(plan.models, run.label),
        place="",
        fingerprint=run.fingerprint,
    )


def _announce(folder: Path, count: int, left: Sequence[tuple[Plan, Run]], slots: Sequence[Slot]) -> Iterator[str]:
    """Say what is going to be done, and what it needs of the disk."""
    yield f"{folder}: {count} runs, {count - len(left)} of them finished"
    if not left:
        return
    plan = left[0][0]
    places = ", ".join(dict.fromkeys(slot.name for slot in slots))
    length = f"{plan.arguments['time']} h" if plan.arguments.get("time") else f"{plan.arguments['epochs']} epochs"
    yield f"{len(left)} runs of {length} to go, {len(slots)} at a time on {places}"
    of_model = {model.label: model.parameters for model in plan.models}
    parameters = sorted((of_model[run.label] for _, run in left), reverse=True)
    needed = _FINISHED_BYTES * sum(parameters) + _TRAINING_BYTES * sum(parameters[: len(slots)])
    free = shutil.disk_usage(folder).free
    line = f"They need about {needed / 2**20:,.0f} MiB of disk, and {free / 2**20:,.0f} MiB are free"
    yield line if free > needed else f"WARNING: {line}: free some, or some runs will fail"


class _Observer:
    """Shows how far the runs are: a bar of all epochs, a line for each run that ends, interim reports.

    Args:
        folder: That of the whole comparison.
        begun: The comparison, or that of each data set.
        places: Number of runs at once.
        report: Whether to write interim reports.
    """

    def __init__(self, folder: Path, begun: Sequence[Begun], places: int, report: bool) -> None:
        self._folder, self._begun, self._places, self._report = folder, begun, places, report
        runs = [run for _, of_plan in begun for run in of_plan]
        self._names = {(run.folder.parent.relative_to(folder).as_posix(), run.folder.name) for run in runs}
        self._epochs_of_run = int(begun[0][0].arguments["epochs"])
        self._estimated = False
        found = self._read()
        self._finished = {_key(run) for run in found if run.state == FINISHED}
        self._done = self._epochs(found)
        self._bar = TQDM(total=len(runs) * self._epochs_of_run, initial=self._done, desc="Epochs of all runs")

    def look(self) -> None:
        """Look how far the runs are."""
        runs = self._read()
        done = self._epochs(runs)
        if done > self._done:  # a run that failed and starts again has fewer
            self._bar.update(done - self._done)
            self._done = done
        ended = [run for run in runs if run.state == FINISHED and _key(run) not in self._finished]
        is_known = seconds_left(runs, self._places) is not None
        if not ended and (self._estimated or not is_known):
            return
        self._estimated = is_known
        self._finished |= {_key(run) for run in ended}
        for run in ended:
            seconds = sum(epoch[0] for epoch in run.times.epochs.values())
            LOGGER.info(f"{run.model}, {run.name}: {run.epochs} epochs in {in_words(seconds)}, {run.value:.4f}")
        LOGGER.info(summary(runs, self._places))
        if self._report and len(self._finished) < len(self._names):
            self._write(runs)

    def close(self) -> None:
        """Look once more, and end the bar."""
        self.look()
        self._bar.close()

    def _write(self, progress: Sequence[RunProgress]) -> None:
        """Write the interim reports."""
        for plan, runs in self._begun:
            outcomes = read_results(plan, runs)
            own = progress if len(self._begun) == 1 else list(read_progress(plan.folder))
            write_interim_report(plan, outcomes, table(plan, outcomes), own)
        if len(self._begun) > 1:
            write_interim(self._folder, [plan for plan, _ in self._begun], progress, self._places)

    def _read(self) -> list[RunProgress]:
        return [run for run in read_progress(self._folder) if _key(run) in self._names]

    def _epochs(self, runs: Sequence[RunProgress]) -> int:
        # a run that stopped early is done all the same
        return sum(self._epochs_of_run if run.state == FINISHED else run.epochs for run in runs)


def _key(run: RunProgress) -> tuple[str, str]:
    return run.model, run.name
