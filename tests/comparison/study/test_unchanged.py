"""What a comparison is bound by: the runs that there are, and nothing before the first of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from yolo_focal import ConfigError
from yolo_focal.comparison.study.plan import begin
from yolo_focal.comparison.study.request import Options, check

PAIR = ["yolov8n.yaml", "yolov8n-focal.yaml"]


def test_before_a_run_has_begun_anything_may_change(small_set: str) -> None:
    """A command that was refused, or stopped before the first run, binds nobody."""
    folder = Path("runs/compare/one")
    folder.mkdir(parents=True)
    with pytest.raises(ConfigError) as caught:
        begin(folder, check(small_set, PAIR, Options(folds=500), {"epochs": 3}))
    assert "folds=500" in str(caught.value)
    begin(folder, check(small_set, PAIR, Options(seeds=3), {"epochs": 3}))
    its_plan, _ = begin(folder, check(small_set, PAIR[::-1], Options(seeds=2), {"epochs": 4}))
    assert (its_plan.labels, its_plan.looks) == (["yolov8n-focal", "yolov8n"], [2])


def test_runs_are_not_thrown_away_for_another_split(small_set: str) -> None:
    Path(small_set).write_text(Path(small_set).read_text() + f"test: {Path('set/images/val').absolute()}\n")
    folder = Path("runs/compare/two")
    _, (run, *_) = begin(folder, check(small_set, PAIR, Options(), {"epochs": 3}))
    run.folder.mkdir(parents=True)
    (run.folder / "result.json").touch()
    with pytest.raises(ConfigError) as caught:
        begin(folder, check(small_set, PAIR, Options(split="val"), {"epochs": 3}))
    assert str(caught.value) == (
        f"{folder} was begun with the split that is scored=test, and now it is val: write name= with another name than "
        "two, or what it was begun with"
    )
    file = folder / "plan.json"
    known = json.loads(file.read_text())
    del known["conditions"]["scored"]  # as an older release has written it
    file.write_text(json.dumps(known))
    begin(folder, check(small_set, PAIR, Options(), {"epochs": 3}))
