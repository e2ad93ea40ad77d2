"""Whole comparisons over several data sets: killed and gone on with, and with a budget."""

from __future__ import annotations

import json
import time
from pathlib import Path

import few
import polars as pl
import pytest
import runs
from comparison.commands import LEARNT, PAIR, steady
from support import COMMAND, run, start

COMMAND_OF_TWO = (COMMAND, "compare", "data=sets", PAIR, "seeds=2", "parallel=2", *LEARNT, "epochs=2")
FOLDER = Path("runs/compare/compare")


@pytest.fixture
def two_sets(few_images: None) -> None:  # noqa: ARG001
    """Two data YAML files in a folder, of as many validation images and of other training images."""
    Path("sets").mkdir()
    for name, count in (("a", 24), ("b", 32)):
        few.draw(Path(name), train=count, val=16)
        Path(f"sets/{name}.yaml").write_text(few.yaml_of(Path(name)))


@pytest.mark.slow
@pytest.mark.usefixtures("two_sets")
def test_killed_over_several_sets_it_comes_to_the_same_tables() -> None:
    run(*COMMAND_OF_TWO, "name=whole", cwd=Path.cwd())
    for finished in (1, 4):
        process = start(*COMMAND_OF_TWO)
        while len(list(FOLDER.glob("*/*/seed*/result.json"))) < finished:
            assert process.poll() is None
            time.sleep(0.1)
        runs.kill(process, Path.cwd())
    begun = json.loads((FOLDER / "sets.json").read_text())
    status = run(COMMAND, "compare", "status", cwd=Path.cwd()).stdout
    assert "of 8 runs have finished" in status and "(nobody works on it; the same command goes on)" in status
    out = run(*COMMAND_OF_TWO, cwd=Path.cwd()).stdout
    assert json.loads((FOLDER / "sets.json").read_text()) == begun and begun["plans"][0]["begun"] == 0
    assert "Over 2 data sets yolov8n-focal " in out
    frame = steady()
    assert frame.equals(steady("whole")) and frame["score mean_of_last"].max() > 0
    assert frame["metrics/precision(B)"].n_unique() == 8  # the runs are not the same, however little they learn
    assert frame.group_by("set", "model").len()["len"].to_list() == [2] * 4
    for name in ("table.md", "table.tex"):
        assert (FOLDER / name).read_text() == (FOLDER.with_name("whole") / name).read_text()
    for label in "ab":
        assert steady(f"compare/{label}").equals(steady(f"whole/{label}"))


@pytest.mark.slow
@pytest.mark.usefixtures("two_sets")
def test_a_budget_goes_to_the_models_that_are_better_over_the_sets() -> None:
    command = (*COMMAND_OF_TWO, "seeds=1", "models=yolov8n.yaml,yolov8n-focal.yaml,yolov8n-ema.yaml", "budget=14epochs")
    out = run(*command, cwd=Path.cwd()).stdout
    assert "Screening: 3 models of 1 epochs with seed 1000 on each of 2 data sets" in out
    (rung,) = json.loads((FOLDER / "screening.json").read_text())["rungs"]
    (dropped,) = rung["dropped"]
    short = [pl.read_csv(file) for file in FOLDER.glob("screening/compare-1-epochs/*/results.csv")]
    means = pl.concat(short, how="diagonal_relaxed").group_by("model").agg(pl.mean("score mean_of_last"))
    assert dict(means.iter_rows()) == pytest.approx(rung["scores"])
    assert rung["scores"][dropped] == min(rung["scores"][label] for label in ("yolov8n-focal", "yolov8n-ema"))
    summary = json.loads((FOLDER / "summary.json").read_text())
    assert dropped not in summary["models"] and len(summary["models"]) == 2
    assert summary["warnings"][0].startswith("Dropped after 1 epochs with one seed, for a budget of 14epochs, and not")
    assert steady()["set"].to_list() == ["a", "a", "b", "b"]
