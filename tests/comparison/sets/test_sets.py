"""Comparisons over several data sets: which they are, the plan on record, the order of the runs, and the status."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from comparison import several

import yolo_focal
from yolo_focal import ConfigError
from yolo_focal.comparison import screening, training
from yolo_focal.comparison.launch.queue import Schedule
from yolo_focal.comparison.status import status
from yolo_focal.comparison.store.progress import read_progress
from yolo_focal.comparison.study import sets
from yolo_focal.comparison.study.halving import Trial
from yolo_focal.comparison.study.plan import begin
from yolo_focal.comparison.study.registered import register

FOLDER = Path("runs/compare/compare")
SMALL: dict[str, Any] = {"epochs": 3, "seeds": 2}


# Which they are


@pytest.mark.parametrize(
    ("files", "data", "found"),
    [
        ([], "my.yaml", {"my": "my.yaml"}),
        ([], "coco8.yaml, b/dota8.yaml", {"coco8": "coco8.yaml", "dota8": "b/dota8.yaml"}),
        ([], ["a/x.yaml", Path("b/x.yaml")], {"x": "a/x.yaml", "b-x": "b/x.yaml"}),
        ([], "a/data.yaml,b/data.yaml", {"a": "a/data.yaml", "b": "b/data.yaml"}),
        ([], "a/b/data.yaml,b.yaml,c/b.yml", {"b": "a/b/data.yaml", "b-2": "b.yaml", "c-b": "c/b.yml"}),
        (
            [],
            "data.yaml,../data.yaml,/d/data.yaml",
            {"data": "data.yaml", "data-2": "../data.yaml", "d": "/d/data.yaml"},
        ),
        ([], "screening.yaml", {"screening-2": "screening.yaml"}),
        (["s/b.yaml", "s/a.yml", "s/c/data.yaml", "s/read.me"], "s", {"a": "s/a.yml", "b": "s/b.yaml"}),
        (["s/b.yaml"], "s/", {"b": "s/b.yaml"}),
        (["s/b/data.yaml", "s/a/data.yaml"], "s", {"a": "s/a/data.yaml", "b": "s/b/data.yaml"}),
        (["s/b/data.yml", "s/a/data.yaml", "s/a/data.txt"], "s", {"a": "s/a/data.yaml", "b": "s/b/data.yml"}),
        (["s/b/data.yaml", "x.yaml"], ["s", "x.yaml"], {"b": "s/b/data.yaml", "x": "x.yaml"}),
        (["c/train/cat/1.jpg", "c/notes.yaml"], "c", {"c": "c"}),  # a set of classes
        (["odd,name.yaml"], "odd,name.yaml", {"odd,name": "odd,name.yaml"}),
    ],
)
def test_which_data_sets_are_named(files: list[str], data: Any, found: dict[str, str]) -> None:
    for file in files:
        Path(file).parent.mkdir(parents=True, exist_ok=True)
        Path(file).touch()
    assert sets.find(data) == found


def test_a_set_that_is_added_behind_leaves_the_others_their_names() -> None:
    before, after = sets.find("x.yaml,a/x.yaml"), sets.find("x.yaml,a/x.yaml,b/x.yaml")
    assert {**after, **before} == after


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("", "data=: it names no data set; write data=my.yaml, or several as data=a.yaml,b.yaml"),
        ([], "data=[]: it names no data set; write data=my.yaml, or several as data=a.yaml,b.yaml"),
        ("a.yaml,b.yaml,./a.yaml", "data=: ./a.yaml is named twice; write each data set once"),
    ],
)
def test_what_names_no_data_sets(data: Any, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        sets.find(data)
    assert str(caught.value) == message


# The plan on record


def refused(**asked: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        register(FOLDER, several.requests(**asked))
    return str(caught.value)


def test_the_plan_is_on_record_before_the_first_run_and_with_each_extension() -> None:
    several.draw_sets()
    FOLDER.mkdir(parents=True)
    asked = several.requests(["a.yaml", "b.yaml"])
    (first,) = register(FOLDER, asked)
    assert (first.begun, first.sets, first.seeds) == (0, ["a", "b"], 2)
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", first.time) and re.fullmatch(r"[0-9a-f]{16}", first.digest)
    (plan,) = json.loads((FOLDER / "sets.json").read_text())["plans"]
    assert plan["plan"]["models"] == several.PAIR and plan["plan"]["conditions"]["arguments"]["epochs"] == 3
    assert register(FOLDER, asked) == [first]
    begin(FOLDER / "a", asked["a"])
    (FOLDER / "a/yolov8n/seed0").mkdir(parents=True)
    (FOLDER / "a/yolov8n/seed0/log.txt").touch()
    again, with_a_set = register(FOLDER, several.requests())
    assert again == first and (with_a_set.begun, with_a_set.sets) == (1, ["a", "b", "c"])
    *_, with_seeds = register(FOLDER, several.requests(options={"seeds": 3}))
    assert (with_seeds.seeds, len({first.digest, with_a_set.digest, with_seeds.digest})) == (3, 3)
    assert len(register(FOLDER, several.requests(options={"seeds": 3}))) == 3


def test_what_a_plan_on_record_does_not_go_on_with() -> None:
    several.draw_sets()
    FOLDER.mkdir(parents=True)
    register(FOLDER, several.requests())  # no run has begun by it: the next is the first
    (first,) = register(FOLDER, several.requests(options={"margin": 0.01}))
    assert first.begun == 0
    (FOLDER / "a/yolov8n/seed0").mkdir(parents=True)
    (FOLDER / "a/yolov8n/seed0/log.txt").touch()
    begun = f"{FOLDER} was begun with"
    anew = "write name= with another name than compare, or what it was begun with"
    same = {"options": {"margin": 0.01}}
    assert refused(files=["a.yaml", "c.yaml"], **same) == f"{begun} data=a,b,c, and now it is a,c: {anew}"
    assert refused(epochs=4, **same) == f"{begun} epochs=3, and now it is 4: {anew}"
    assert refused(models=["yolov8n.yaml", "yolov8n-ema.yaml"], **same) == (
        f"{begun} models=yolov8n.yaml,yolov8n-focal.yaml, and now it is yolov8n.yaml,yolov8n-ema.yaml: {anew}"
    )
    assert refused() == f"{begun} margin=0.01, and now it is None: {anew}"
    assert (
        refused(options={"margin": 0.01, "all_pairs": True}) == f"{begun} all_pairs=False, and now it is True: {anew}"
    )
    assert refused(options={"margin": 0.01, "seeds": 1}) == f"{begun} seeds=2, and now it is 1: write 2 or more"
    Path("b.yaml").write_text(Path("b.yaml").read_text() + "test: images/val\n")
    assert refused(**same) == f"{begun} data: b=its images and labels as they were, and now it is others: {anew}"
    (FOLDER / "sets.json").write_text('{"plans": []}')
    assert refused(**same) == (
        f"{FOLDER / 'sets.json'}: it is not what this release of compare writes; write name= with another name"
    )


def test_the_same_images_do_not_count_as_two_sets() -> None:
    several.draw_sets()
    Path("twin.yaml").write_text(Path("a.yaml").read_text())
    assert refused(files=["a.yaml", "b.yaml", "twin.yaml"]) == (
        "data=: twin.yaml has the images and labels of a.yaml; write each data set once"
    )


def test_one_set_and_several_do_not_share_a_folder() -> None:
    several.draw_sets()
    anew = "write name= with another name than compare, or what it was begun with"
    FOLDER.mkdir(parents=True)
    register(FOLDER, several.requests())
    with pytest.raises(ConfigError) as caught:
        yolo_focal.compare("a.yaml", several.PAIR, **SMALL)
    assert str(caught.value) == f"{FOLDER} was begun with data=a,b,c, and now it is a.yaml: {anew}"
    (FOLDER / "sets.json").unlink()
    begin(FOLDER, several.requests()["a"])
    with pytest.raises(ConfigError) as caught:
        yolo_focal.compare(several.SETS, several.PAIR, **SMALL)
    assert str(caught.value) == f"{FOLDER} was begun with data=one data set, and now it is a,b,c: {anew}"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"folds": 4}, "folds=4: write an integer from 2 to 3, the number of training images of a.yaml"),
        ({"split": "test"}, "split=test: a.yaml has no test images; add test: to it, or leave split= out"),
        (
            {"budget": "27epochs"},
            "budget=27epochs: 2 models of 1 epochs, and then two of them with 2 runs of 3 on each of 3 data sets, take "
            "42 epochs; write budget=42epochs or more",
        ),
    ],
)
def test_what_cannot_work_on_a_set_names_it(options: dict[str, Any], message: str) -> None:
    several.draw_sets()
    with pytest.raises(ConfigError) as caught:
        yolo_focal.compare(several.SETS, several.PAIR, **SMALL, **options)
    assert str(caught.value) == message


# The runs


def test_the_first_seed_of_all_sets_comes_first() -> None:
    several.draw_sets()
    begun = [begin(FOLDER / label, request) for label, request in several.requests().items()]
    order = [(run.seed, plan.folder.name, run.label) for plan, run in training.in_order(begun)]
    assert order == [
        (seed, label, model) for seed in (0, 1) for label in "abc" for model in ("yolov8n", "yolov8n-focal")
    ]
    specs = [training.task(plan, run) for plan, run in training.in_order(begun)]
    assert [spec.data for spec in specs[:6]] == [file for file in several.SETS for _ in range(2)]
    assert len({spec.fingerprint for spec in specs}) == 12


def test_how_long_a_run_takes_is_known_by_set_and_model() -> None:
    jobs = ["a/m", "b/m", "a/m", "b/m", "a/m"]
    schedule = Schedule(jobs, 1, str)
    for seconds in (1.0, 5.0):
        job = schedule.next()
        assert job is not None
        schedule.ended(job, seconds)
    assert [schedule.next() for _ in range(3)] == ["b/m", "a/m", "a/m"]


def test_the_status_is_of_all_sets() -> None:
    several.draw_sets()
    several.end_all(FOLDER, several.requests(), lambda label, *_: 0.5 if label == "a" else None)
    for run in FOLDER.glob("a/*/seed*"):
        (run / "task.json").write_text(json.dumps(task_of(run)))
    (text,) = status("compare")
    assert text.splitlines()[0] == f"{FOLDER}: 4 of 4 runs have finished"
    assert [line.split()[:2] for line in text.splitlines()[2:]] == [
        ["a/yolov8n", "seed0"],
        ["a/yolov8n-focal", "seed0"],
        ["a/yolov8n", "seed1"],
        ["a/yolov8n-focal", "seed1"],
    ]
    (of_one,) = status("compare/a")
    assert "\nyolov8n " in of_one
    assert [run.model for run in read_progress(FOLDER / "a")] == ["yolov8n", "yolov8n-focal"] * 2


def task_of(folder: Path) -> dict[str, Any]:
    fingerprint = json.loads((folder / "result.json").read_text())["fingerprint"]
    given = {"model": "m.yaml", "data": "d.yaml", "seed": 0, "arguments": {"epochs": 2}, "threads": 1}
    given |= {"last_epochs": 1, "test": False, "snapshot_every": 1, "metric": "m", "ablations": [], "place": "cpu"}
    return {**given, "fingerprint": fingerprint}


# A budget


def test_a_screening_takes_the_mean_over_the_sets() -> None:
    """On one of them alone the second model would be behind."""
    of_sets = [
        {"a": Trial(0.5, 1, 2), "b": Trial(0.4, 1, 2), "c": Trial(0.45, 1, 2)},
        {"a": Trial(0.2, 3, 4), "b": Trial(0.4, 3, 4), "d": Trial(0.9, 3, 4)},
    ]
    assert screening._over_sets(of_sets, FOLDER) == {
        "a": Trial(pytest.approx(0.35), 4, 6),
        "b": Trial(pytest.approx(0.4), 4, 6),
    }
    with pytest.raises(ConfigError) as caught:
        screening._over_sets([of_sets[0], {"a": of_sets[1]["a"]}], FOLDER)
    assert str(caught.value) == f"{FOLDER}: no model but a could be trained on every data set"
