"""What is said of data that test the layers in which models differ, or do not."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from comparison.outcomes import changed, outcome, plan
from comparison.rows import rows_of

from yolo_focal.comparison.report import layers, report, verdicts
from yolo_focal.comparison.report.analysis import analyse
from yolo_focal.comparison.store.run_result import Ablated
from yolo_focal.comparison.study.ablation import of_model
from yolo_focal.comparison.study.plan import Plan
from yolo_focal.comparison.study.results import RunOutcome, table

SCHEMA = json.loads(Path(report.__file__).with_name("summary.schema.json").read_text(encoding="utf-8"))


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
    assert "on the val images" in said[0] and "between -0.05 and 0.05" in said[0]
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
