"""How far a comparison is, and how long it will take."""

from __future__ import annotations

import json
import math
import re
from dataclasses import asdict
from pathlib import Path

import pytest
import runs
from support import COMMAND, run

from yolo_focal.comparison.store.lock import locked
from yolo_focal.comparison.store.progress import RunProgress, in_words, read_progress, seconds_left, summary, table
from yolo_focal.comparison.store.run_folder import RunSpec, training_folder, write_result
from yolo_focal.comparison.store.times import Times

METRIC = "metrics/mAP50-95(B)"


def a_task(fingerprint: str = "0", place: str = "cpu") -> RunSpec:
    return RunSpec(
        model="m.yaml",
        data="d.yaml",
        seed=0,
        arguments={"epochs": 10, "device": "cpu"},
        threads=1,
        last_epochs=3,
        test=False,
        snapshot_every=1,
        metric=METRIC,
        ablations=[],
        place=place,
        fingerprint=fingerprint,
    )


def progress(model: str, state: str, seconds: float | None, epochs: int = 1) -> RunProgress:
    times = Times(5.0, {} if seconds is None else {str(number): [seconds, seconds, 0] for number in range(epochs)})
    return RunProgress(model, "seed0", a_task(), state, 0 if seconds is None else epochs, 0.5, times)


@pytest.mark.parametrize(
    ("runs", "places", "seconds"),
    [
        ([progress("a", "running", 2.0)], 1, 9 * 2.0),
        ([progress("a", "stopped", 2.0)], 1, 5 + 9 * 2.0),
        ([progress("a", "finished", 2.0, 10)], 1, 0.0),
        ([progress("a", "running", 2.0), progress("a", "waiting", None)], 1, 9 * 2.0 + 5 + 10 * 2.0),
        ([progress("a", "running", 2.0), progress("a", "waiting", None)], 2, 5 + 10 * 2.0),
        ([progress("a", "running", 2.0), progress("b", "running", 4.0), progress("b", "waiting", None)], 2, 45 + 18),
        ([progress("a", "running", 2.0), progress("b", "running", None)], 2, None),  # nothing is known of b yet
        ([progress("a", "finished", 2.0, 4), progress("a", "waiting", None)], 1, 5 + 10 * 2.0),  # it stopped early
    ],
)
def test_the_time_left(runs: list[RunProgress], places: int, seconds: float | None) -> None:
    assert seconds_left(runs, places) == seconds


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.4, "0 s"), (59.4, "59 s"), (200, "3 min 20 s"), (3600, "1 h 0 min"), (90_061, "25 h 1 min")],
)
def test_a_time_in_words(seconds: float, said: str) -> None:
    assert in_words(seconds) == said


def write(folder: Path, epochs: int = 0, curve: list[float] | None = None) -> Path:
    """Write what a run leaves."""
    folder.mkdir(parents=True)
    (folder / "task.json").write_text(json.dumps(asdict(a_task())))
    if epochs:
        (folder / "log.txt").touch()
        times = Times(5.0, {str(epoch): [2.0, 1.0, 0] for epoch in range(epochs)})
        (folder / "times.json").write_text(json.dumps(times._asdict()))
        training_folder(folder).mkdir()
        rows = "".join(f"{epoch + 1},{0.1 * epoch}\n" for epoch in range(epochs))
        (training_folder(folder) / "results.csv").write_text(f"epoch,{METRIC}\n{rows}")
    if curve:
        write_result(folder, runs.result(curve=curve))
    return folder


@pytest.fixture
def comparison(tmp_path: Path) -> Path:
    folder = tmp_path / "runs" / "compare" / "one"
    write(folder / "a" / "seed0", 10, curve=[0.25, 0.5])
    write(folder / "b" / "seed0", 3)
    write(folder / "a" / "seed1", 2)
    write(folder / "b" / "seed1")
    (folder / "plan.json").write_text(json.dumps({"places": 1}))
    return folder


def test_runs_are_read_from_what_they_leave(comparison: Path) -> None:
    with locked(comparison / "b" / "seed0"):
        runs = list(read_progress(comparison))
        assert [(run.model, run.name, run.state, run.epochs) for run in runs] == [
            ("a", "seed0", "finished", 2),
            ("b", "seed0", "running", 3),
            ("a", "seed1", "stopped", 2),
            ("b", "seed1", "waiting", 0),
        ]
        assert [run.value for run in runs[:3]] == [0.5, 0.2, 0.1] and math.isnan(runs[3].value)
        assert table(runs) == [
            "model  run    device  epoch  mAP50-95(B)  left",
            "a      seed0  cpu     2/2    0.5000       finished",
            "b      seed0  cpu     3/10   0.2000       14 s",
            "a      seed1  cpu     2/10   0.1000       stopped",
            "b      seed1  -       0/10   -            waiting",
        ]
    assert re.fullmatch(
        r"1 of 4 runs have finished, about 1 min 0 s of training left, until \d\d:\d\d", summary(runs, 1)
    )
    assert summary([progress("a", "running", None)], 1) == (
        "0 of 1 runs have finished; the time left is known after the first epoch of each model"
    )


def test_status_from_another_terminal(comparison: Path) -> None:
    cwd = comparison.parents[2]
    out = run(COMMAND, "compare", "status", "name=one", "watch=True", cwd=cwd).stdout.splitlines()
    assert re.fullmatch(
        r"runs/compare/one: 1 of 4 runs have finished, about 1 min 5 s of training left, until \d\d:\d\d "
        r"\(nobody works on it; the same command goes on\)",
        out[-6],
    )
    assert out[-5].startswith("model  run    device")
    failed = run(COMMAND, "compare", "status", "name=two", cwd=cwd, check=False)
    assert failed.stdout.splitlines()[-1] == (
        "name=two: there is no comparison in runs/compare/two; write name= as it was begun with"
    )
    failed = run(COMMAND, "compare", "status", "watch=1", cwd=cwd, check=False)
    assert failed.stdout.splitlines()[-1] == "yolo-focal compare status: watch=1: write watch=True or watch=False"
