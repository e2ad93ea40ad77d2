"""The control of a comparison: the first model, as large as the largest of the others."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import few
import pytest
import yaml
from comparison.outcomes import outcome, plan
from support import further
from ultralytics import YOLO
from ultralytics.nn.tasks import DetectionModel

from yolo_focal import ConfigError
from yolo_focal.comparison import training
from yolo_focal.comparison.report import report, verdicts
from yolo_focal.comparison.report.analysis import analyse
from yolo_focal.comparison.study import control
from yolo_focal.comparison.study.control import Cost
from yolo_focal.comparison.study.plan import Plan, Run, begin
from yolo_focal.comparison.study.request import Options, check
from yolo_focal.comparison.study.results import table
from yolo_focal.hook import configs

FOLDER = Path("runs/compare/one")


@pytest.fixture(autouse=True)
def data(in_a_folder_of_its_own: None) -> None:  # noqa: ARG001
    """A few images, `my.yaml`."""
    few.draw(Path("set"), train=2, val=2)
    Path("my.yaml").write_text(few.yaml_of(Path("set")))


def begun(*models: str, **given: Any) -> tuple[Plan, list[Run]]:
    return begin(FOLDER, check("my.yaml", models, Options(seeds=1, control=True), {"epochs": 3, "imgsz": 64, **given}))


def cost(file: str | Path) -> Cost:
    """Return what a model of the data's classes costs, by Ultralytics' own model info."""
    _, parameters, _, gflops = DetectionModel(str(file), nc=4, verbose=False).info(imgsz=64)
    return Cost(parameters, gflops)


@pytest.mark.parametrize(
    ("models", "width"),
    [
        (["yolov8n.yaml", "yolov8n-focal.yaml", "yolov8n-c2focal.yaml"], 0.25),
        *further(
            (["yolov8n.yaml", "yolov8s-focal.yaml"], 0.25),
            (["yolo11n.yaml", "yolo11s.yaml"], 0.25),  # whose attention takes some widths only
        ),
    ],
)
def test_it_is_the_narrowest_that_costs_no_less_than_the_dearest_of_the_others(models: list[str], width: float) -> None:
    its_plan, runs = begun(*models)
    found = its_plan.models[-1]
    label = f"{Path(models[0]).stem}-control"
    assert its_plan.labels == [*(Path(name).stem for name in models), label] and runs[-1].label == label
    file = FOLDER / f"{label}.yaml"
    assert Path(found.file) == file.absolute()
    dearest = [cost(name) for name in models[1:]]
    least = Cost(max(one.parameters for one in dearest), max(one.gflops for one in dearest))
    assert cost(file).reaches(least) and not cost(models[0]).reaches(least)
    config = yaml.safe_load(file.read_text(encoding="utf-8"))
    (scale,) = config["scales"].values()
    assert (found.width, width < scale[1]) == (scale[1], True)
    stock = yaml.safe_load(configs.model(models[0]).read_text(encoding="utf-8"))
    letter = DetectionModel(models[0], verbose=False).yaml["scale"]
    assert config == {**stock, "scales": {letter: [stock["scales"][letter][0], scale[1], *stock["scales"][letter][2:]]}}
    scale[1] = round(scale[1] - 0.001, 3)
    narrower = Path(f"{Path(models[0]).stem}-narrower.yaml")
    narrower.write_text(yaml.safe_dump(config), encoding="utf-8")
    try:
        assert not cost(narrower).reaches(least)
    except RuntimeError as error:  # it cannot be built
        assert "shape" in str(error)


@pytest.mark.parametrize(
    ("costs", "least", "found"),
    [
        # By width: parameters and GFLOPs; where there is nothing, the model cannot be built.
        ({10: (1, 1), 11: (2, 2), 12: (3, 3), 13: (4, 4), 14: (5, 5)}, (3, 3), 12),
        ({10: (1, 1), 11: (2, 9), 12: (3, 9), 13: (4, 9), 14: (5, 9)}, (4, 1), 13),
        ({10: (1, 1), 11: (9, 2), 12: (9, 3), 13: (9, 4), 14: (9, 5)}, (1, 4), 13),
        ({10: (1, 1), 11: (2, 2), 14: (5, 5), 20: (6, 6)}, (3, 3), 14),
        ({10: (1, 1), 11: (2, 2), 14: (3, 3), 20: (6, 6)}, (4, 4), 20),
        ({10: (1, 1)}, (2, 2), None),
        ({width: (width, 1) for width in range(10, 41)}, (40, 1), 40),
        ({width: (width, 1) for width in range(10, 41)}, (41, 1), None),
    ],
)
def test_the_narrowest_width_on_paper(costs: dict[int, tuple[int, int]], least: Any, found: int | None) -> None:
    def at(width: int) -> Cost | None:
        return Cost(*costs[width]) if width in costs else None

    assert control._narrowest(at, Cost(*least), 10) == found


def test_it_is_the_same_when_the_comparison_goes_on() -> None:
    pair = ("yolov8n.yaml", "yolov8n-focal.yaml")
    its_plan, runs = begun(*pair)
    file = FOLDER / "yolov8n-control.yaml"
    before = file.read_bytes()
    file.unlink()
    again, same = begun(*pair)
    assert (again, same, file.read_bytes()) == (its_plan, runs, before)
    assert training.task(its_plan, runs[-1]).model == str(file.absolute())
    assert training.task(its_plan, runs[-1]).ablations == []  # its rows are those of the first model
    runs[0].folder.mkdir(parents=True)
    (runs[0].folder / "log.txt").touch()
    with pytest.raises(ConfigError) as caught:
        begin(FOLDER, check("my.yaml", pair, Options(seeds=1), {"epochs": 3, "imgsz": 64}))
    assert str(caught.value).startswith(
        f"{FOLDER} was begun with models=yolov8n.yaml,yolov8n-focal.yaml,yolov8n-control, and now it is "
        "yolov8n.yaml,yolov8n-focal.yaml: "
    )


TINY = (
    "nc: 3\nscales:\n  n: [1, {width}, 64]\n  s: [2, 1, 64]\nbackbone:\n- [-1, 1, Conv, [16, 3, 8]]\n"
    "- [-1, 2, C2f, [32]]\nhead:\n- [[1], 1, Detect, [nc]]\n"
)


def test_the_scale_is_kept_whatever_the_model_is_called() -> None:
    """Of two files of one name the folders tell them apart; a name without a letter takes the first scale."""
    for file, width in (("yolo11x/yolov8-my.yaml", 1), ("other/yolov8-my.yaml", 2), ("open.yaml", 1)):
        Path(file).parent.mkdir(exist_ok=True)
        Path(file).write_text(TINY.format(width=width))
    for first, label, scale, depth in (
        ("yolo11x/yolov8s-my.yaml", "yolo11x-control", "s", 2),
        ("open.yaml", "open-control", "", 1),
    ):
        found = begun(first, "other/yolov8n-my.yaml", "other/yolov8s-my.yaml")[0].models[-1]
        assert (found.label, found.assumed) == (label, "")
        config = YOLO(found.file).model.yaml
        assert (config["scale"], [one[0] for one in config["scales"].values()]) == (scale, [depth])
        (FOLDER / "plan.json").unlink()


def test_models_that_cost_no_more_need_none(caplog: pytest.LogCaptureFixture) -> None:
    its_plan, runs = begun("yolov8n-focal.yaml", "yolov8n.yaml")
    assert (its_plan.labels, len(runs)) == (["yolov8n-focal", "yolov8n"], 2)
    assert caplog.messages[-1] == (
        "control=True: no other model has more parameters or GFLOPs than yolov8n-focal; there is none"
    )
    assert not list(FOLDER.glob("*.yaml"))
    said = "control=True added no model, as none of the others has more parameters or GFLOPs than yolov8n-focal."
    assert said in report._methods(analyse(its_plan, []), [])


@pytest.mark.parametrize(
    ("models", "value", "message"),
    [
        (
            ("own.pt", "yolov8n.yaml"),
            True,
            "control=True: it is the first model at another width, and own.pt is a checkpoint, whose width is what it "
            "is; write a YAML with scales first, such as models=yolov8n.yaml,..., or leave control= out",
        ),
        (
            ("flat.yaml", "yolov8n.yaml"),
            True,
            "control=True: it is the first model at another width, and flat.yaml has no scales to set a width by; "
            "write a YAML with scales first, such as models=yolov8n.yaml,..., or leave control= out",
        ),
        (
            ("yolov8n.yaml", "yolov8n-focal.yaml"),
            "yolov8s.yaml",
            "control=yolov8s.yaml: write control=True or control=False",
        ),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(models: Any, value: Any, message: str) -> None:
    if "own.pt" in models:
        YOLO("yolov8n.yaml").save("own.pt")
    Path("flat.yaml").write_text("nc: 3\nbackbone:\n- [-1, 1, Conv, [16, 3, 8]]\nhead:\n- [[0], 1, Detect, [nc]]\n")
    with pytest.raises(ConfigError) as caught:
        check("my.yaml", models, Options(control=value), {"epochs": 3})
    assert str(caught.value) == message
    assert not FOLDER.exists()


def test_a_model_of_fixed_width_has_none() -> None:
    """Its second row takes 16 channels, and no others."""
    rows = "nc: 3\nscales:\n  n: [1, 0.01, 1600]\nbackbone:\n- [-1, 1, Conv, [1600, 3, 8]]\n"
    rows += "- [-1, 1, nn.Conv2d, [16, 16, 1]]\nhead:\n- [[1], 1, Detect, [nc]]\n"
    Path("fixed.yaml").write_text(rows)
    with pytest.raises(ConfigError) as caught:
        begun("fixed.yaml", "yolov8n.yaml")
    assert str(caught.value).startswith(
        "control=True: fixed.yaml cannot be built at a width that costs as much as the dearest of yolov8n, "
    )
    assert str(caught.value).endswith(" GFLOPs; leave control= out")


def test_the_report_names_it(tmp_path: Path) -> None:
    its_plan = plan(tmp_path, "abc", seeds=2, control=True)
    models = [*its_plan.models[:2], its_plan.models[2]._replace(width=0.26)]
    its_plan = replace(its_plan, models=models)
    found = [
        outcome(tmp_path, label, seed, 0.5 + 0.1 * seed * index) for seed in (0, 1) for index, label in enumerate("abc")
    ]
    analysis = analyse(its_plan, found)
    first, second = verdicts.verdicts(analysis)
    said = (
        " c is the control: a at the width 0.26, which costs no less than the dearest of the other models. What it "
        "gains is due to size."
    )
    assert (said in first, second.endswith(said)) == (False, True)
    behind = [
        outcome(tmp_path, label, seed, 0.5 + 0.1 * seed, work={"transferred": [1, 5] if label == "c" else [3, 5]})
        for seed in (0, 1)
        for label in "abc"
    ]
    assert verdicts.verdicts(analyse(its_plan, behind))[1].endswith(
        " than the dearest of the other models. Its start is behind: 1 of its 5 tensors are from weights, and 3 of 5 "
        "in a. So it says nothing of size."
    )
    assert any(line.startswith("2 comparisons are made") for line in verdicts.warnings(analysis, found))
    command = report.command(its_plan)
    assert " models=a.yaml,b.yaml " in command and " control=True " in command
    report.write_report(analysis, found, table(its_plan, found))
    assert json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))["models"] == ["a", "b", "c"]
