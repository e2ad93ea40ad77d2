"""Whether data test the layers in which models differ: which those are, what they carry, and what is said of it."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import yaml
from runs import changed, outcome, plan
from scipy import stats

from yolo_focal.comparison.report import layers, report, verdicts
from yolo_focal.comparison.report.analysis import analyse
from yolo_focal.comparison.stats.layer_share import over_seeds
from yolo_focal.comparison.store.run_folder import Ablation
from yolo_focal.comparison.store.run_result import Ablated
from yolo_focal.comparison.study.ablation import Ablations, between, of_model
from yolo_focal.comparison.study.models import Model
from yolo_focal.comparison.study.plan import Plan
from yolo_focal.comparison.study.results import RunOutcome, table
from yolo_focal.hook import configs

SCHEMA = json.loads(Path(report.__file__).with_name("summary.schema.json").read_text(encoding="utf-8"))
SAME = "Conv, [8, 3, 1]"


def rows_of(name: str) -> list[Any]:
    config = yaml.safe_load(configs.model(name).read_text(encoding="utf-8"))
    return [*config["backbone"], *config["head"]]


def written(*rows: str) -> list[Any]:
    return [yaml.safe_load(f"[{row}]") for row in rows]


# Which layers those are


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


# What they carry


def test_a_share_is_what_is_lost_without_the_layers() -> None:
    one = Ablated(rows=[9], by="zeros", score=0.8, without=0.6)
    assert one.share == pytest.approx(0.25)
    assert replace(one, without=0.88).share == pytest.approx(-0.1)  # it is better without
    assert [replace(one, score=score).share for score in (0.0, math.nan)] == [None, None]
    assert replace(one, without=None).share is None


@pytest.mark.parametrize(
    ("shares", "upper", "is_small"),
    [
        # By a table of Student's t: t(1) = 12.706, t(2) = 4.303 at 95 %; the mean, and t times std / sqrt(seeds) above.
        ([0.049], 0.049, True),
        ([0.05], 0.05, False),
        ([0.01, 0.01], 0.01, True),
        ([0.02, 0.03], 0.025 + 12.706 * 0.005, False),
        ([0.01, 0.02, 0.03], 0.02 + 4.303 * 0.01 / math.sqrt(3), True),
        ([0.02, 0.03, 0.04], 0.03 + 4.303 * 0.01 / math.sqrt(3), False),
        ([-0.04, -0.01, -0.04], -0.03 + 4.303 * 0.03 / 3, True),
    ],
)
def test_data_are_blind_below_a_share_of_a_twentieth(shares: list[float], upper: float, is_small: bool) -> None:
    found = over_seeds(shares)
    assert found is not None
    assert found.upper == pytest.approx(upper, abs=1e-5)
    assert (found.mean, found.least, found.most) == pytest.approx((np.mean(shares), min(shares), max(shares)))
    assert (found.is_small, found.seeds) == (is_small, len(shares))


def test_folds_have_images_in_common_and_no_share_is_none() -> None:
    shares = [0.01, 0.02, 0.03]
    found = over_seeds(shares, 0.5)
    assert found is not None
    assert found.upper == pytest.approx(0.02 + float(stats.t.ppf(0.975, 2)) * 0.01 * math.sqrt(1 / 3 + 0.5))
    assert over_seeds([]) is None


# What is said of it


def differing(folder: Path, **options: Any) -> Plan:
    """Return the plan of a model, one with another layer in a place, one with a further row, and a wider one."""
    kinds = {"a": "yolov8n.yaml", "b": "yolov8n-focal.yaml", "c": "yolov8n-c2focal.yaml", "d": "yolov8n.yaml"}
    its_plan = plan(folder, "abcd", **options)
    models = [model._replace(rows=rows_of(kinds[model.label])) for model in its_plan.models]
    return replace(its_plan, models=models)


def ended(its_plan: Plan, kept: dict[str, list[float]]) -> list[RunOutcome]:
    """Return the runs of a plan, with the share of the score that each model keeps without the layers."""
    found = []
    for seed in range(its_plan.options.seeds):
        for model in its_plan.models:
            ablations = [
                Ablated(rows=one.rows, by=one.by, score=0.5, without=0.5 * kept[model.label][seed])
                for one in of_model(its_plan.models, model.label)
            ]
            score = 0.5 + 0.01 * seed + 0.1 * (model.label == "c") * seed
            found.append(changed(outcome(its_plan.folder, model.label, seed, score), ablations=ablations))
    return found


KEPT = {"a": [0.98, 0.99, 0.98], "b": [0.7, 0.8, 0.6], "c": [1.01, 1.0, 0.99], "d": []}
SEES = {**KEPT, "a": [0.5, 0.6, 0.7]}


@pytest.mark.parametrize(
    ("lang", "said", "added"),
    [
        (
            "en",
            [
                "Share of the score that layers carry on this data: 0.02 by row 9 (SPPF) of a (0.01 to 0.02 over 3 "
                "runs), 0.30 by row 9 (FocalModulation) of b (0.20 to 0.40 over 3 runs).",
                "Share of the score that layers carry on this data: 0.02 by row 9 (SPPF) of a (0.01 to 0.02 over 3 "
                "runs), 0.00 by row 10 (C2Focal) of c (-0.01 to 0.01 over 3 runs).",
            ],
            " This data hardly uses the layer: without it a keeps 0.98 of its score, so no module in its place can "
            "show much here, however many seeds.",
        ),
        (
            "zh",
            [
                "各层在这份数据上承担的得分比例：a 的行 9 (SPPF) 为 0.02（3 次训练中为 0.01 到 0.02）, b 的行 9 "
                "(FocalModulation) 为 0.30（3 次训练中为 0.20 到 0.40）。",
                "各层在这份数据上承担的得分比例：a 的行 9 (SPPF) 为 0.02（3 次训练中为 0.01 到 0.02）, c 的行 10 "
                "(C2Focal) 为 0.00（3 次训练中为 -0.01 到 0.01）。",
            ],
            "这份数据几乎用不到这一层：去掉它，a 仍保有得分的 0.98，"
            "因此无论用多少个种子，换上什么模块都显不出多大差别。",
        ),
    ],
)
def test_what_is_said_of_data_that_hardly_use_the_layer(lang: str, said: list[str], added: str, tmp_path: Path) -> None:
    """The first model's layer decides that, whatever the others carry."""
    its_plan = differing(tmp_path, seeds=3, lang=lang)
    found = ended(its_plan, KEPT)
    analysis = analyse(its_plan, found)
    assert list(layers.about(its_plan, analysis.layers)) == said
    assert [added in verdict for verdict in verdicts.verdicts(analysis)] == [True, True, False]
    assert {label: pair.is_blind for label, pair in layers.shares(its_plan, found).items()} == {"b": True, "c": True}
    seeing = analyse(its_plan, ended(its_plan, SEES))
    assert not any(added in verdict for verdict in verdicts.verdicts(seeing))
    assert not any(pair.is_blind for pair in seeing.layers.values())


def test_one_seed_and_several_rows(tmp_path: Path) -> None:
    its_plan = differing(tmp_path, seeds=1)
    rows = rows_of("yolov8n.yaml")
    rows[2] = rows[4] = [-1, 1, "EMA", []]
    its_plan = replace(its_plan, models=[its_plan.models[0], its_plan.models[1]._replace(rows=rows)])
    found = ended(its_plan, KEPT)
    assert list(layers.about(its_plan, layers.shares(its_plan, found))) == [
        "Share of the score that layers carry on this data: 0.02 by rows 2 (C2f), 4 (C2f) of a, 0.30 by rows 2 (EMA), "
        "4 (EMA) of b."
    ]


def test_what_is_not_known_is_not_said(tmp_path: Path) -> None:
    """A layer whose output cannot be replaced, runs without a score, and a first model that has not finished."""
    its_plan = differing(tmp_path, seeds=1)
    found = ended(its_plan, KEPT)
    for index in (1, 2):
        (known,) = found[index].result.ablations  # type: ignore[union-attr]
        found[index] = changed(found[index], ablations=[replace(known, without=None)])
    shares = layers.shares(its_plan, found)
    assert [(pair.first is None, pair.other) for pair in shares.values()] == [(False, None), (False, None)]
    said = "Share of the score that layers carry on this data: 0.02 by row 9 (SPPF) of a."
    assert list(layers.about(its_plan, shares)) == [said] * 2
    found[0] = found[0]._replace(result=None)
    shares = layers.shares(its_plan, found)
    assert {(pair.first, pair.is_blind) for pair in shares.values()} == {(None, None)}
    assert list(layers.about(its_plan, shares)) == []


def test_how_it_was_done_and_for_which_models_it_was_not(tmp_path: Path) -> None:
    its_plan = differing(tmp_path, seeds=3)
    said = list(layers.methods(its_plan, layers.shares(its_plan, ended(its_plan, KEPT))))
    assert "on the val images" in said[0] and "below 0.05" in said[0]
    assert said[1:] == ["It is not said which share of the score a layer carries where the rows are those of a: d."]
    models = [*its_plan.models[:1], its_plan.models[1]._replace(rows=rows_of("yolov8n-focalnet.yaml"))]
    assert list(layers.methods(replace(its_plan, models=models), {})) == [
        "It is not said which share of the score a layer carries where the rows are not those of a with others in "
        "their places, or with further ones, before the head: b."
    ]


def test_the_report_the_summary_and_the_table_have_it(tmp_path: Path) -> None:
    its_plan = differing(tmp_path, seeds=3, all_pairs=True)
    found = ended(its_plan, KEPT)
    frame = table(its_plan, found)
    assert frame["share of rows 9"].to_list()[:4] == [pytest.approx(0.02), pytest.approx(0.3), None, None]
    assert frame["share of rows 10"].to_list()[2] == pytest.approx(-0.01)
    said = report.write_report(analyse(its_plan, found), found, frame)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    carried = [line for line in said if line.startswith("Share of the score that layers carry on this data: 0.02 by ")]
    assert len(carried) == 2 and all(line in page for line in carried)
    assert "share of rows" not in page  # the table of runs fits a sheet of paper
    summary = json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))
    jsonschema.validate(summary, SCHEMA)
    known = {(pair["first"], pair["other"]): pair["layers"] for pair in summary["differences"]}
    assert [pair for pair, value in known.items() if value] == [("a", "b"), ("a", "c")]
    assert known["a", "b"]["is_blind"] is True
    assert known["a", "b"]["first"]["mean"] == pytest.approx(0.05 / 3)
