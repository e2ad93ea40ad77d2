"""The layers in which models differ, by their rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from comparison.rows import rows_of

from yolo_focal.comparison import training
from yolo_focal.comparison.screening import _short
from yolo_focal.comparison.store.run_folder import Ablation
from yolo_focal.comparison.study.ablation import Ablations, between, of_model
from yolo_focal.comparison.study.models import Model
from yolo_focal.comparison.study.plan import begin
from yolo_focal.comparison.study.request import Options, check

SAME = "Conv, [8, 3, 1]"


def written(*rows: str) -> list[Any]:
    return [yaml.safe_load(f"[{row}]") for row in rows]


def zeros(*rows: int) -> Ablation:
    return Ablation([*rows], "zeros")


def inputs(*rows: int) -> Ablation:
    return Ablation([*rows], "input")


@pytest.mark.parametrize(
    ("first", "other", "found"),
    [
        ("yolov8n.yaml", "yolov8n-focal.yaml", (zeros(9), zeros(9))),
        ("yolov8n-focal.yaml", "yolov8n.yaml", (zeros(9), zeros(9))),
        ("yolov8n.yaml", "yolov8n-c2focal.yaml", (zeros(9), inputs(10))),
        ("yolov8n-c2focal.yaml", "yolov8n.yaml", (inputs(10), zeros(9))),
        ("yolo11n.yaml", "yolo11n-focal.yaml", (zeros(9), zeros(9))),
        ("yolov8n-cls.yaml", "yolov8n-focal-cls.yaml", (zeros(8), inputs(9))),
        ("yolov8n.yaml", "yolov8n.yaml", None),
        ("yolov8n.yaml", "yolov8s.yaml", None),
        ("yolov8n.yaml", "yolov8n-seg.yaml", None),  # another head
        ("yolov8n.yaml", "yolov8n-focalnet.yaml", None),
        ("yolov8n.yaml", "yolov8n-p2.yaml", None),
        ("yolov8n.yaml", "yolov8n-p6.yaml", None),
        ("yolov8n.yaml", "yolo11n.yaml", None),
    ],
)
def test_the_layers_in_which_packaged_models_differ(first: str, other: str, found: Any) -> None:
    assert between(rows_of(first), rows_of(other)) == (found and Ablations(*found))


BASE = (f"-1, 1, {SAME}", f"-1, 3, {SAME}", f"-1, 1, {SAME}", "[-1, 1], 1, Concat, [1]", "[1, 3], 1, Detect, [nc]")


@pytest.mark.parametrize(
    ("rows", "found"),
    [
        # In the place of others: one, and several; also one that reads another row.
        ((*BASE[:2], "-1, 1, EMA, []", *BASE[3:]), (zeros(2), zeros(2))),
        ((BASE[0], "-1, 1, EMA, []", "-1, 1, EMA, []", *BASE[3:]), (zeros(1, 2), zeros(1, 2))),
        ((*BASE[:3], "[-1, 0], 1, Concat, [1]", BASE[4]), (zeros(3), zeros(3))),
        # Inserted: what is behind moves, and reads the new row, or still the old one.
        (
            (*BASE[:2], "-1, 1, EMA, []", BASE[2], "[-1, 2], 1, Concat, [1]", "[2, 4], 1, Detect, [nc]"),
            (zeros(1), inputs(2)),
        ),
        (
            (*BASE[:2], "-1, 1, EMA, []", BASE[2], "[-1, 1], 1, Concat, [1]", "[1, 4], 1, Detect, [nc]"),
            (zeros(1), inputs(2)),
        ),
        (
            (
                *(BASE[0], "-1, 1, EMA, []", BASE[1], BASE[2], "-1, 1, EMA, []", "-1, 1, EMA, []"),
                *("[-1, 2], 1, Concat, [1]", "[2, 6], 1, Detect, [nc]"),
            ),
            (zeros(0, 2), inputs(1, 4, 5)),
        ),
        # Otherwise: it reads the image, two rows, or other rows than before read it.
        (("-1, 1, EMA, []", *BASE[:3], "[-1, 2], 1, Concat, [1]", "[2, 4], 1, Detect, [nc]"), None),
        ((*BASE[:3], "[-1, 1], 1, Concat, [1]", "[-1, 1], 1, Concat, [1]", "[1, 4], 1, Detect, [nc]"), None),
        ((*BASE[:3], "-1, 1, EMA, []", "[-1, 1], 1, Concat, [1]", "[2, 4], 1, Detect, [nc]"), None),
        ((*BASE[:4], "[1, 3], 1, Segment, [nc]"), None),
        ((), None),
    ],
)
def test_the_layers_in_which_rows_differ(rows: tuple[str, ...], found: Any) -> None:
    assert between(written(*BASE), written(*rows)) == (found and Ablations(*found))


def named(label: str, rows: list[Any]) -> Model:
    return Model(label, f"{label}.yaml", f"{label}.yaml", "detect", "0", 3, rows=rows)


def test_the_first_model_is_looked_at_once_for_each_set_of_places() -> None:
    names = ["yolov8n.yaml", "yolov8n-focal.yaml", "yolov8s.yaml", "yolov8n-c2focal.yaml"]
    models = [named(Path(name).stem, rows_of(name)) for name in names]
    elsewhere = rows_of("yolov8n.yaml")
    elsewhere[2] = elsewhere[4] = [-1, 1, "EMA", []]
    models.append(named("own", elsewhere))
    assert [of_model(models, model.label) for model in models] == [
        [zeros(9), zeros(2, 4)],
        [zeros(9)],
        [],
        [inputs(10)],
        [zeros(2, 4)],
    ]


def test_each_run_is_told_its_layers_and_is_another_with_others(small_set: str) -> None:
    """The runs of a screening are told none."""
    fingerprints = []
    for names in (["yolov8n.yaml", "yolov8n-focal.yaml", "yolov8s.yaml"], ["yolov8n.yaml", "yolov8s.yaml"]):
        request = check(small_set, names, Options(seeds=1), {"epochs": 3})
        its_plan, runs = begin(Path(names[1]), request)
        told = [[zeros(9)], [zeros(9)], []] if len(names) == 3 else [[], []]
        assert [training.task(its_plan, run).ablations for run in runs] == told
        short = _short(request, its_plan.labels, 1).models
        assert [of_model(short, label) for label in its_plan.labels] == [[] for _ in names]
        fingerprints.append(runs[0].fingerprint)
    assert fingerprints[0] != fingerprints[1]
