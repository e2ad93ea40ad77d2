"""Carries a comparison out: plans it, starts what has not finished, and writes the report."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import polars as pl
from ultralytics.utils import LOGGER, RUNS_DIR

from yolo_focal.comparison.launch import devices
from yolo_focal.comparison.report import verdicts
from yolo_focal.comparison.report.analysis import Analysis, analyse
from yolo_focal.comparison.report.over_sets import words
from yolo_focal.comparison.report.over_sets.analysis import analyse_sets, one_set
from yolo_focal.comparison.report.over_sets.report import write_over_sets
from yolo_focal.comparison.report.report import write_costs, write_report
from yolo_focal.comparison.screening import screen
from yolo_focal.comparison.store.lock import locked
from yolo_focal.comparison.study import registered, sets
from yolo_focal.comparison.study.plan import Begun, begin
from yolo_focal.comparison.study.registered import Registered
from yolo_focal.comparison.study.request import Options, Request, Whole, check, on
from yolo_focal.comparison.study.results import RunOutcome, read_results, table
from yolo_focal.comparison.training import train

if TYPE_CHECKING:
    from yolo_focal.comparison.launch.ray_cluster import Cluster


def conduct(
    data: str | Sequence[str],
    models: str | Sequence[str],
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
        named = sets.find(data)
        request = check(next(iter(named.values())), models, options, arguments, find_places)
        if len(named) == 1:
            stack.enter_context(locked(folder))
            return _over_one_set(folder, request, cluster)
        whole = Whole(name, [*named.values()])
        requests = {label: replace(on(request, one), whole=whole) for label, one in named.items()}
        stack.enter_context(locked(folder))
        plans = registered.register(folder, requests)
        for label in requests:
            stack.enter_context(locked(folder / label))
        return _over_sets(folder, requests, plans, cluster)


def _over_one_set(folder: Path, request: Request, cluster: Cluster | None) -> pl.DataFrame:
    registered.refuse_one(folder, request.dataset.name)
    if request.options.budget is not None:
        (request,) = _screen(folder, {"": request}, cluster).values()
    plan, runs = begun = begin(folder, request)
    LOGGER.info(verdicts.about_power(plan, read_results(plan, runs)))
    train(folder, [begun], cluster, report=True)
    ended = _Ended.of(begun)
    for line in ended.write():
        LOGGER.info(line)
    ended.write_costs()
    LOGGER.info(f"Results saved to {folder / 'report.html'}")
    return ended.frame


def _over_sets(
    folder: Path, requests: Mapping[str, Request], plans: Sequence[Registered], cluster: Cluster | None
) -> pl.DataFrame:
    if next(iter(requests.values())).options.budget is not None:
        requests = _screen(folder, requests, cluster)
    begun = {label: begin(folder / label, request) for label, request in requests.items()}
    before = {label: one_set(plan, read_results(plan, runs)) for label, (plan, runs) in begun.items()}
    for line in words.about_power(analyse_sets(before, plans)):
        LOGGER.info(line)
    train(folder, [*begun.values()], cluster, report=True)
    ended = {label: _Ended.of(of_set) for label, of_set in begun.items()}
    for label, one in ended.items():
        one.write()
        for line in verdicts.verdicts(one.analysis):
            LOGGER.info(f"{label}: {line}")
    analysis = analyse_sets({label: one_set(one.analysis.plan, one.outcomes) for label, one in ended.items()}, plans)
    notes = {label: verdicts.warnings(one.analysis, one.outcomes) for label, one in ended.items()}
    lines, frame = write_over_sets(folder, analysis, {label: one.frame for label, one in ended.items()}, notes)
    for line in lines:
        LOGGER.info(line)
    for one in ended.values():
        one.write_costs()
    LOGGER.info(f"Results saved to {folder / 'report.html'}")
    return frame


class _Ended(NamedTuple):
    """A comparison whose runs have ended."""

    analysis: Analysis
    outcomes: list[RunOutcome]
    frame: pl.DataFrame

    @classmethod
    def of(cls, begun: Begun) -> _Ended:
        plan, runs = begun
        outcomes = read_results(plan, runs)
        return cls(analyse(plan, outcomes), outcomes, table(plan, outcomes))

    def write(self) -> list[str]:
        """Write its report and return what it says."""
        return write_report(*self)

    def write_costs(self) -> None:
        """Measure what the models cost, and write the report with it."""
        write_costs(*self)


def _screen(folder: Path, requests: Mapping[str, Request], cluster: Cluster | None) -> dict[str, Request]:
    return screen(folder, requests, functools.partial(train, cluster=cluster, report=False))


def _cluster(address: str | None, storage: str | None) -> Cluster:
    from yolo_focal.comparison.launch.ray_cluster import Cluster  # only here: Ray need not be installed

    return Cluster(address, storage)
