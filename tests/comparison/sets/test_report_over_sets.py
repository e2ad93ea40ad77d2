"""The tables, the plots and the page of a comparison over several data sets."""

from __future__ import annotations

import json
import re
from pathlib import Path

import jsonschema
import numpy as np
import polars as pl
import pytest
from comparison import several
from comparison.several import BETTER, FOCAL, FOLDER, analysed

import yolo_focal
from yolo_focal.comparison.report import page
from yolo_focal.comparison.report.over_sets import forest, tables
from yolo_focal.comparison.report.page import Table
from yolo_focal.comparison.store.lock import locked

SCHEMA = json.loads(Path(page.__file__).with_name("sets.schema.json").read_text(encoding="utf-8"))


@pytest.fixture(autouse=True)
def sets(in_a_folder_of_its_own: None) -> None:  # noqa: ARG001
    several.draw_sets()


def test_the_table_in_markdown_and_latex() -> None:
    analysis = analysed(BETTER)
    table = tables.by_set(analysis, FOCAL)
    assert tables.markdown([table]) == (
        "**Data sets: yolov8n-focal less yolov8n, mAP50-95(B)**\n\n"
        "| data set | classes | images, train / scored | yolov8n | yolov8n-focal | difference | 95% interval | "
        "p (corrected) |\n"
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n"
        "| a | 4 | 3 / 2 | 0.5100 | 0.5700 | +0.0600 | - | - |\n"
        "| c | 4 | 5 / 4 | 0.5100 | 0.5400 | +0.0300 | - | - |\n"
        "| b | 4 | 4 / 3 | 0.5100 | 0.5200 | +0.0100 | - | - |\n"
        "| over all |  |  | 0.5100 | 0.5433 | +0.0333 | -0.0371 to +0.1038 | 0.186 |\n"
    )
    text = tables.latex([table])
    assert "over all &  &  & 0.5100 & 0.5433 & +0.0333 & $-$0.0371 to +0.1038 & 0.186 \\\\\n\\bottomrule" in text
    assert "95\\% interval" in text and text.count("\\toprule") == 1
    odd = Table("a_b & 100%", ["{x}", "#1 ~^\\ a|b"], [["-0.5 to -0.1", "mod-el-2 < $3"]])
    assert tables.latex([odd]).splitlines()[5:14] == [
        r"\caption{a\_b \& 100\%}",
        r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
        r"\begin{tabular}{lr}",
        r"\toprule",
        r"\{x\} & \#1 \textasciitilde{}\textasciicircum{}\textbackslash{} a\textbar{}b \\",
        r"\midrule",
        r"$-$0.5 to $-$0.1 & mod-el-2 \textless{} \$3 \\",
        r"\bottomrule",
        r"\end{tabular}}",
    ]
    assert "| #1 ~^\\ a\\|b |" in tables.markdown([odd])


def test_a_wide_interval_does_not_press_the_others_together() -> None:
    rng = np.random.default_rng(0)
    analysis = analysed(lambda label, model, seed: BETTER(label, model, seed) + float(rng.normal(0, 0.02)))
    figure = forest._draw(analysis, FOCAL)
    assert figure is not None
    (axes,) = figure.axes
    means = analysis.over_sets[FOCAL].of_sets
    assert [tick.get_text() for tick in axes.get_yticklabels()] == [*sorted(means, key=lambda k: -means[k]), "over all"]
    left, right = axes.get_xlim()
    whole = analysis.over_sets[FOCAL].difference
    assert whole is not None and left < whole.low < whole.high < right
    assert any(one.high > right for set_ in analysis.sets.values() if (one := set_.over_seeds[FOCAL]))
    assert {">", "<"} <= {line.get_marker() for line in axes.lines}
    assert all(left <= x <= right for line in axes.lines[:-2] for x in line.get_xdata())


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_the_whole_of_a_comparison_that_has_ended(lang: str, caplog: pytest.LogCaptureFixture) -> None:
    """Called again, `compare` trains nothing, and writes all reports anew."""
    options = {"lang": lang}
    several.end_all(FOLDER, several.requests(options=options), BETTER)
    frame = yolo_focal.compare(several.SETS, several.PAIR, seeds=2, epochs=3, **options)
    assert frame.columns[:3] == ["set", "model", "seed"] and len(frame) == 12
    assert pl.read_csv(FOLDER / "results.csv")["set"].to_list() == [name for name in "abc" for _ in range(4)]
    assert not [name for name in frame.columns if name.startswith("AP50-95 ")]
    text = (FOLDER / "report.html").read_text(encoding="utf-8")
    first = re.search('<p class="verdict">(.*?)</p>', text)
    summary = json.loads((FOLDER / "summary.json").read_text(encoding="utf-8"))
    jsonschema.validate(summary, SCHEMA)
    assert first is not None and first[1] == summary["words"][0]
    assert summary["words"][0] in caplog.text
    assert not re.search(r"https?://(?!www\.w3\.org)", text)
    assert re.findall('<a href="(.*?)">', text) == ["a/report.html", "c/report.html", "b/report.html"]
    for label in "abc":
        assert (FOLDER / label / "report.html").exists()
        assert '<a href="../report.html">' in (FOLDER / label / "report.html").read_text(encoding="utf-8")
        of_set = json.loads((FOLDER / label / "summary.json").read_text(encoding="utf-8"))
        assert of_set["command"] == summary["command"]
    assert summary["command"] == (
        "yolo-focal compare data=a.yaml,b.yaml,c.yaml models=yolov8n.yaml,yolov8n-focal.yaml seeds=2 name=compare"
        f"{' lang=zh' if lang == 'zh' else ''} epochs=3"
    )
    digest = json.loads((FOLDER / "sets.json").read_text(encoding="utf-8"))["plans"][0]["digest"]
    assert digest in text and summary["plans"][0]["digest"] == digest and summary["plans"][0]["begun"] == 0
    for kind in ("png", "pdf"):
        assert (FOLDER / f"forest-1-yolov8n-focal.{kind}").stat().st_size > 1000
    for name in ("table.md", "table.tex"):
        assert ("数据集" in (FOLDER / name).read_text(encoding="utf-8")) == (lang == "zh")


def test_a_set_that_is_added_later_widens_the_interval(caplog: pytest.LogCaptureFixture) -> None:
    several.end_all(FOLDER, several.requests(), BETTER)
    yolo_focal.compare(several.SETS[:2], several.PAIR, seeds=2, epochs=3)
    yolo_focal.compare(several.SETS, several.PAIR, seeds=2, epochs=3)
    summary = json.loads((FOLDER / "summary.json").read_text(encoding="utf-8"))
    assert [plan["sets"] for plan in summary["plans"]] == [["a", "b"], ["a", "b", "c"]]
    assert [line for line in summary["warnings"] if "plan number 2" in line]
    (found,) = summary["differences"]
    first = analysed(BETTER).over_sets[FOCAL].difference
    assert first is not None and found["over_sets"]["p"] == pytest.approx(5 * first.p)
    assert "Over 2 data sets" in caplog.text and "Over 3 data sets" in caplog.text


def test_each_set_is_locked_while_the_whole_is_at_work() -> None:
    several.end_all(FOLDER, several.requests(), BETTER)
    with locked(FOLDER / "b"), pytest.raises(yolo_focal.ConfigError, match=r"^runs/compare/compare/b: process \d+ on"):
        yolo_focal.compare(several.SETS, several.PAIR, seeds=2, epochs=3)
