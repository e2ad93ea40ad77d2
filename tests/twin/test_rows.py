"""A row that is inserted behind another: where it is written, and what the other rows read then."""

from __future__ import annotations

from typing import Any

import pytest

from yolo_focal.twin import config, rows


@pytest.mark.parametrize(
    ("before", "index", "source", "moved"),
    [
        ([2], 2, -1, -1),  # it reads the new row
        ([2], 3, -2, -2),  # rows 1 and 3 have a row between them, which is read in the place of row 1
        ([2], 4, -4, -5),
        ([2], 4, 0, 0),
        ([2], 4, 1, 2),
        ([2], 4, [-1, 1, 3], [-1, 2, 4]),
        ([2], 1, -1, -1),
        ([2, 4], 4, [0, 1, 2, 3, -1, -3], [0, 2, 3, 5, -1, -4]),
        ([1], 0, -1, -1),  # the model's input
        ([1], 3, "x", "x"),
        ([1], 3, True, True),
    ],
)
def test_what_rows_read_after_an_insertion(before: list[int], index: int, source: Any, moved: Any) -> None:
    assert rows.Positions([], before).reads(source, index) == moved


BLOCK = """backbone:
  - [-1, 1, Conv, [64, 3, 2]] # 0-P1/2
  - [-1, 1, SPPF, [64, 5]] # 1, pooled
  # what follows
head:
  - [[-1, 1, 0], 1, Concat, [1]] # 2
  - [-1, 1, Conv, [64]]   # 31 is no index
  - [[3], 1, Detect, [nc]] # 4"""
NEW = "[-1, 1, C2Focal, []]"


@pytest.mark.parametrize(
    ("text", "twin"),
    [
        (
            BLOCK,
            "backbone:\n  - [-1, 1, Conv, [64, 3, 2]] # 0-P1/2\n  - [-1, 1, SPPF, [64, 5]] # 1, pooled\n"
            f"  - {NEW}\n  # what follows\nhead:\n  - [[-1, 2, 0], 1, Concat, [1]] # 3\n"
            "  - [-1, 1, Conv, [64]]   # 31 is no index\n  - [[4], 1, Detect, [nc]] # 5",
        ),
        (  # a comment inside what a row reads
            "backbone:\n- [-1, 1, Conv, [8]]\n- [-1, 1, SPPF, []]\nhead:\n- [[0, # fine\n   1 ], 1, Detect, [nc]]\n",
            f"backbone:\n- [-1, 1, Conv, [8]]\n- [-1, 1, SPPF, []]\n- {NEW}\n"
            "head:\n- [[0, # fine\n   2 ], 1, Detect, [nc]]\n",
        ),
        (
            "backbone: [[-1, 1, SPPF, []]]\nhead: [[[-1, 0], 1, Detect, [nc]]]\n",
            f"backbone: [[-1, 1, SPPF, []], {NEW}]\nhead: [[[-1, 1], 1, Detect, [nc]]]\n",
        ),
        (
            "backbone: [\r\n  [-1, 1, SPPF, []],\r\n  [-1, 1, Conv, [8]]\r\n]\r\nhead: [[0, 1, Detect, [nc]]]\r\n",
            f"backbone: [\r\n  [-1, 1, SPPF, []],\r\n  {NEW},\r\n  [-1, 1, Conv, [8]]\r\n]\r\n"
            "head: [[1, 1, Detect, [nc]]]\r\n",
        ),
        (
            "backbone:\n  -\n    - -1\n    - 1\n    - SPPF\n    - - 64\n      - 5 # pooled\n"
            "head:\n  - [0, 1, Detect, [nc]]",
            "backbone:\n  -\n    - -1\n    - 1\n    - SPPF\n    - - 64\n      - 5 # pooled\n"
            f"  - {NEW}\nhead:\n  - [1, 1, Detect, [nc]]",
        ),
    ],
)
def test_a_row_is_inserted_behind_another_in_any_style(text: str, twin: str) -> None:
    assert config.twin(text, "x.yaml", after="SPPF", module="C2Focal").text == twin
