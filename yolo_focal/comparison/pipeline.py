"""Carries a comparison out: plans it, starts what has not finished, and writes the report."""

from __future__ import annotations

import contextlib
import functools
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
from ultralytics.utils import LOGGER, RUNS_DIR, TQDM

from yolo_focal.comparison.launch import devices, local
from yolo_focal.comparison.launch.process import Job
from yolo_focal.comparison.report import verdicts
from yolo_focal.comparison.report.analysis import analyse
from yolo_focal.comparison.report.report import write_costs, write_interim_report, write_report
from yolo_focal.comparison.screening import screen
from yolo_focal.comparison.store.lock import locked
from yolo_focal.comparison.store.progress import FINISHED, RunProgress, in_words, read_progress, seconds_left, summary
from yolo_focal.comparison.store.run_folder import RunSpec, result_of
from yolo_focal.comparison.study import ablation
from yolo_focal.comparison.study.plan import Plan, Run, begin
from yolo_focal.comparison.study.request import Options, check
from yolo_focal.comparison.study.results import read_results, table

if TYPE_CHECKING:
    from yolo_focal.comparison.launch.ray_cluster import Cluster

# Bytes of disk for each parameter of a model, measured with SGD and AdamW: the two checkpoints of a finished run, and
# those of a training with two snapshots.
_FINISHED_BYTES, _TRAINING_BYTES = 5, 100


def conduct(
    data: str,
    models: Sequence[str],
    name: str,
    options: Options,
    ray: bool,
    address: str | None,
    storage: str | None,
    arguments: dict[str, Any],
) -> pl.DataFrame:
    """Carry a comparison out; see `compare`."""
    folder = Path(RUNS_DIR / "compare" / name)
    with contextlib.ExitStack() as stack:
        cluster = stack.enter_context(_cluster(address, storage)) if ray else None
        find_places = cluster.places if cluster else devices.on_this_machine
        request = check(data, models, options, arguments, find_places)
        stack.enter_context(locked(folder))
        if options.budget is not None:
            request = screen(folder, request, functools.partial(_train, cluster=cluster, report=False))
        plan, runs = begin(folder, request)
        LOGGER.info(verdicts.about_power(plan, read_results(plan, runs)))
        _train(plan, runs, cluster, report=True)
        outcomes = read_results(plan, runs)
        frame = table(plan, outcomes)
        analysis = analyse(plan, outcomes)
        for line in write_report(analysis, outcomes, frame):
            LOGGER.info(line)
        write_costs(analysis, outcomes, frame)
        LOGGER.info(f"Results saved to {folder / 'report.html'}")
    return frame


def _announce(plan: Plan, runs: Sequence[Run], left: Sequence[Run]) -> Iterator[str]:
    """Say what is going to be done, and what it needs of the disk."""
    done = len(runs) - len(left)
    yield f"{plan.folder}: {len(runs)} runs, {done} of them finished"
    if not left:
        return
    places = ", ".join(dict.fromkeys(slot.name for slot in plan.slots))
    length = f"{plan.arguments['time']} h" if plan.arguments.get("time") else f"{plan.arguments['epochs']} epochs"
    yield f"{len(left)} runs of {length} to go, {len(plan.slots)} at a time on {places}"
    parameters = {model.label: model.parameters for model in plan.models}
    at_once = sorted((parameters[run.label] for run in left), reverse=True)[: len(plan.slots)]
    needed = _FINISHED_BYTES * sum(parameters[run.label] for run in left) + _TRAINING_BYTES * sum(at_once)
    free = shutil.disk_usage(plan.folder).free
    line = f"They need about {needed / 2**20:,.0f} MiB of disk, and {free / 2**20:,.0f} MiB are free"
    yield line if free > needed else f"WARNING: {line}: free some, or some runs will fail"


def _cluster(address: str | None, storage: str | None) -> Cluster:
    from yolo_focal.comparison.launch.ray_cluster import Cluster  # only here: Ray need not be installed

    return Cluster(address, storage)


def _train(plan: Plan, runs: Sequence[Run], cluster: Cluster | None, report: bool) -> None:
    """Train the runs that have not finished, and write an interim report meanwhile if asked to."""
    left = [run for run in runs if result_of(run.folder, run.fingerprint) is None]
    for line in _announce(plan, runs, left):
        LOGGER.info(line)
    jobs = [Job(run.folder.absolute(), _task(plan, run)) for run in left]
    for job in jobs:
        job.write()
    observer = _Observer(plan, runs, report)
    if cluster:
        cluster.run(plan.folder, jobs, plan.options.parallel, observer.look)
    else:
        local.on_this_machine(jobs, plan.slots, observer.look)
    observer.close()


def _task(plan: Plan, run: Run) -> RunSpec:
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


class _Observer:
    """Shows how far the runs are: a bar of all epochs, a line for each run that ends, an interim report.

    Args:
        plan: The comparison.
        runs: Its runs.
        report: Whether to write an interim report.
    """

    def __init__(self, plan: Plan, runs: Sequence[Run], report: bool) -> None:
        self._plan, self._runs, self._report = plan, runs, report
        self._names = {(run.label, run.folder.name) for run in runs}
        self._estimated = False
        found = self._read()
        self._finished = {_key(run) for run in found if run.state == FINISHED}
        self._done = self._epochs(found)
        whole = len(runs) * int(plan.arguments["epochs"])
        self._bar = TQDM(total=whole, initial=self._done, desc="Epochs of all runs")

    def look(self) -> None:
        """Look how far the runs are."""
        runs = self._read()
        done = self._epochs(runs)
        if done > self._done:  # a run that failed and starts again has fewer
            self._bar.update(done - self._done)
            self._done = done
        ended = [run for run in runs if run.state == FINISHED and _key(run) not in self._finished]
        is_known = seconds_left(runs, len(self._plan.slots)) is not None
        if not ended and (self._estimated or not is_known):
            return
        self._estimated = is_known
        self._finished |= {_key(run) for run in ended}
        for run in ended:
            seconds = sum(epoch[0] for epoch in run.times.epochs.values())
            LOGGER.info(f"{run.model}, {run.name}: {run.epochs} epochs in {in_words(seconds)}, {run.value:.4f}")
        LOGGER.info(summary(runs, len(self._plan.slots)))
        if self._report and len(self._finished) < len(self._runs):
            outcomes = read_results(self._plan, self._runs)
            write_interim_report(self._plan, outcomes, table(self._plan, outcomes), runs)

    def close(self) -> None:
        """Look once more, and end the bar."""
        self.look()
        self._bar.close()

    def _read(self) -> list[RunProgress]:
        return [run for run in read_progress(self._plan.folder) if _key(run) in self._names]

    def _epochs(self, runs: Sequence[RunProgress]) -> int:
        whole = int(self._plan.arguments["epochs"])  # a run that stopped early is done all the same
        return sum(whole if run.state == FINISHED else run.epochs for run in runs)


def _key(run: RunProgress) -> tuple[str, str]:
    return run.model, run.name
