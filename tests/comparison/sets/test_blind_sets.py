"""Data sets on which the first model hardly uses the layer in whose place the others have another."""

from __future__ import annotations

import pytest
from comparison import several
from comparison.several import BETTER, FOCAL, analysed

from yolo_focal.comparison.report.over_sets import tables, words

HARDLY = (
    " On {}, yolov8n hardly uses the layer in which the two differ, so nothing can be seen there of what stands in its "
    "place."
)


@pytest.fixture(autouse=True)
def sets(in_a_folder_of_its_own: None) -> None:  # noqa: ARG001
    several.draw_sets()


def test_the_verdict_without_them_stands_beside_that_over_all() -> None:
    """Without a there are 0.01 and 0.03: on paper 0.02, and t(1) = 15.895 at a first look's 4 % times 0.01."""
    analysis = analysed(BETTER, kept={"a": 0.99, "b": 0.5, "c": 0.4})
    assert analysis.blind(FOCAL) == ["a"]
    assert [*analysis.over_sets[FOCAL].of_sets] == ["a", "b", "c"]
    said = words.verdict(analysis, FOCAL)
    assert said.startswith("Over 3 data sets yolov8n-focal differs from yolov8n by +0.0333")
    assert said.endswith(
        f"{HARDLY.format('a')} Without, over 2 data sets, the difference is +0.0200 (-0.1389 to +0.1789) mAP50-95(B)."
    )
    table = tables.by_set(analysis, FOCAL)
    assert table.head[-1] == "layer's share"
    assert [row[-1] for row in table.rows] == ["0.01 (blind)", "0.60", "0.50", ""]


@pytest.mark.parametrize(
    ("kept", "blind"),
    [({"a": 0.5, "b": 0.5, "c": 0.9}, []), ({"a": 1.0, "b": 0.98, "c": 1.04}, ["a", "b", "c"]), (None, [])],
)
def test_none_or_all_are_blind(kept: dict[str, float] | None, blind: list[str]) -> None:
    analysis = analysed(BETTER, kept=kept)
    assert analysis.blind(FOCAL) == blind
    said = words.verdict(analysis, FOCAL)
    assert said.endswith(HARDLY.format("a, b, c")) if blind else "hardly" not in said
    assert (tables.by_set(analysis, FOCAL).head[-1] == "layer's share") == (kept is not None)
