"""The report: its page, tables and plots, and the summary, and that they are whole without a network."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import jsonschema
import polars as pl
import pytest
from comparison.outcomes import outcome, outcomes, plan

from yolo_focal.comparison.report import report
from yolo_focal.comparison.report.analysis import Pair, analyse
from yolo_focal.comparison.report.model_cost import Cost
from yolo_focal.comparison.stats.paired_t import Difference
from yolo_focal.comparison.store.results_csv import Curve
from yolo_focal.comparison.study.results import table

SCHEMA = json.loads(Path(report.__file__).with_name("summary.schema.json").read_text(encoding="utf-8"))
METRIC = "metrics/mAP50-95(B)"


def test_models_are_compared_with_the_first_or_all_with_all(tmp_path: Path) -> None:
    found = outcomes(tmp_path, labels="abc")
    assert list(analyse(plan(tmp_path, "abc"), found).over_seeds) == [("a", "b"), ("a", "c")]
    all_pairs = analyse(plan(tmp_path, "abc", all_pairs=True), found)
    assert list(all_pairs.over_seeds) == [("a", "b"), ("a", "c"), ("b", "c")]
    difference = all_pairs.over_seeds[Pair("b", "c")]
    assert difference is not None and difference.is_more_than_noise


def test_the_table_has_scores_metrics_classes_and_failures(tmp_path: Path) -> None:
    found = outcomes(tmp_path, seeds=1)
    found.append(found[0]._replace(run=found[0].run._replace(seed=1), result=None, failure="it has not been started"))
    frame = table(plan(tmp_path), found)
    assert frame.columns == [
        *("model", "seed", "finished", "epochs", "score best", "score last", "score mean_of_last", METRIC, "seconds"),
        *("cpu_seconds", "peak_memory_mib", "failure", "AP50-95 cat", "AP50-95 dog"),
        *("AP50-95 of small objects", "AP50-95 of large objects"),
    ]
    assert frame["failure"].to_list() == ["", "", "it has not been started"]
    assert frame["AP50-95 cat"][2] is None


class Page(HTMLParser):
    """Collects a page's text and checks that its elements are closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: Any) -> None:  # noqa: ARG002
        if tag not in {"meta", "path", "use", "rect", "circle", "br", "link", "clippath"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in self.open:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


COST = Cost(3_000_000, 8.5, [10.0, 11.0, 12.0], None, None, ["onnxruntime: RuntimeError: <none>"])


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_the_report_is_whole_without_a_network(lang: str, tmp_path: Path) -> None:
    its_plan, found = plan(tmp_path, lang=lang, seeds=5), outcomes(tmp_path)
    found[0] = found[0]._replace(result=None, failure="no <b>luck</b>")
    said = report.write_report(analyse(its_plan, found), found, table(its_plan, found))
    before = (tmp_path / "report.html").read_text(encoding="utf-8")
    report._write(analyse(its_plan, found), found, table(its_plan, found), {"a": COST, "b": COST})
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    page = Page()
    page.feed(text)
    assert page.open == []
    assert all(line in page.text for line in said)
    assert "no <b>luck</b>" in page.text and "<b>luck" not in text
    assert ("3,000,000" in page.text, "3,000,000" in before) == (True, False)
    assert not re.search(r"https?://(?!www\.w3\.org)", text)
    assert text.count("<svg") == 3
    assert f'<html lang="{lang}">' in text
    summary = json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))
    jsonschema.validate(summary, SCHEMA)
    (apart,) = summary["differences"]
    assert apart["over_seeds"]["seeds"] == 4
    assert apart["by_class"].keys() == {"cat", "dog"} and apart["by_score"].keys() == {"best", "last"}
    assert apart["by_size"].keys() == {"small", "large"}
    assert summary["command"] == (
        f"yolo-focal compare data=d.yaml models=a.yaml,b.yaml seeds=5 name={tmp_path.name}"
        f"{' lang=zh' if lang == 'zh' else ''} epochs=50"
    )
    assert pl.read_csv(tmp_path / "results.csv").height == 10
    assert {path.name for path in tmp_path.glob("*.png")} == {
        "learning-curves.png",
        "accuracy-against-time.png",
        "differences-1-b.png",
    }


def test_fresh_seeds_are_named_by_their_numbers(tmp_path: Path) -> None:
    its_plan = replace(plan(tmp_path, seed=3), looks=[2, 5])
    found = [o._replace(run=o.run._replace(seed=o.run.seed + 3)) for o in outcomes(tmp_path)]
    report.write_report(analyse(its_plan, found), found, table(its_plan, found))
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Each model was trained with the seeds 3 to 7 by" in page
    assert dict.fromkeys(re.findall(r"seed \d+", page)) == dict.fromkeys(f"seed {seed}" for seed in range(3, 8))
    summary = json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))
    assert " seeds=5 " in summary["command"] and " seed=3 " in summary["command"]
    from_zero = analyse(replace(plan(tmp_path), looks=[2, 5]), outcomes(tmp_path))
    assert analyse(its_plan, found).over_seeds == from_zero.over_seeds


def test_the_pages_table_of_runs_has_what_fits_a_sheet_of_paper(tmp_path: Path) -> None:
    its_plan, found = plan(tmp_path), outcomes(tmp_path)
    report.write_report(analyse(its_plan, found), found, table(its_plan, found))
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    runs = page.partition("<h2>Runs</h2>")[2].partition("</table>")[0]
    assert "results.csv beside this page holds this table with the AP of each class and each size of object." in runs
    assert re.findall(r"<th>(.*?)</th>", runs)[-3:] == ["seconds", "cpu_seconds", "peak_memory_mib"]


def test_a_failed_run_does_not_cut_the_curves_of_the_others(tmp_path: Path) -> None:
    from yolo_focal.comparison.report.plots import _curves

    found = [o._replace(curve=Curve([0.1 * n for n in range(10)], None)) for o in outcomes(tmp_path)]
    found[0] = found[0]._replace(result=None, curve=Curve([0.5], None))
    figure = _curves(plan(tmp_path), found)
    assert figure is not None
    assert [len(line.get_xdata()) for line in figure.axes[0].lines] == [10, 10]


def test_names_that_differ_in_signs_alone_get_files_of_their_own(tmp_path: Path) -> None:
    its_plan = plan(tmp_path, "abc")
    labels = ["a", "模 型", "模+型"]
    models = [model._replace(label=label) for model, label in zip(its_plan.models, labels, strict=True)]
    found = [outcome(tmp_path, label, seed, 0.5 + 0.01 * seed) for seed in range(3) for label in labels]
    report.write_report(analyse(replace(its_plan, models=models), found), found, table(its_plan, found))
    assert {path.name for path in tmp_path.glob("differences*")} == {
        "differences-1-模-型.png",
        "differences-2-模-型.png",
    }


def test_a_difference_of_one_value_has_no_interval_in_the_tables() -> None:
    assert report._figures(Difference(0.1, math.nan, math.nan, 1), "en") == ["+0.1000", "-", "-"]
