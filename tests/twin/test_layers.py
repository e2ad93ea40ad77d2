"""What the shapes of a model YAML's layers are checked for, before FocalModulation is put in their place."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from yolo_focal import ConfigError
from yolo_focal.twin.layers import check_config

MODEL = """
nc: 3
scales: {{s: [0.33, 0.5, 1024], n: [0.33, 0.25, 1024]}}
backbone:
  - [-1, 1, Conv, [64, 3, 2]]
  - [-1, 1, {}]
  - [-1, 1, SPPF, {}]
head:
  - [[1, 2], 1, {}]
"""


def config(stem: str = "nn.Identity, []", sppf: str = "[64, 5]", head: str = "Detect, [nc]") -> dict[str, Any]:
    parsed: dict[str, Any] = yaml.safe_load(MODEL.format(stem, sppf, head))
    return parsed


def refusal(parsed: dict[str, Any], indices: list[int], file: str, replace: str) -> str:
    with pytest.raises(ConfigError) as caught:
        check_config(parsed, indices, file, replace)
    return str(caught.value)


@pytest.mark.parametrize(
    ("parsed", "indices"),
    [
        (config(), [2]),
        (config(), [1, 2]),
        (config(head="MyHead, [nc]"), [2]),  # what comes after the rows does not matter
        (config("MyBlock, []"), []),  # nor does anything where no row is replaced
    ],
)
def test_a_layer_that_keeps_the_shape_passes(parsed: dict[str, Any], indices: list[int]) -> None:
    before = repr(parsed)
    check_config(parsed, indices, "mine.yaml", "SPPF")
    assert repr(parsed) == before


@pytest.mark.parametrize(("file", "channels"), [("mine.yaml", 16), ("yolo11n.yaml", 16), ("yolo11s-x.yaml", 32)])
def test_another_shape_is_refused_at_the_scale_of_the_name(file: str, channels: int) -> None:
    assert refusal(config(sppf="[128, 5]"), [2], file, "SPPF") == (
        f"{file}, row 2: SPPF makes {2 * channels}x128x128 of {channels}x128x128, and FocalModulation keeps the "
        "shape of one map; write replace= with a module that does"
    )


def test_another_resolution_is_refused() -> None:
    assert "row 1: nn.AvgPool2d makes 16x64x64 of 16x128x128" in refusal(
        config("nn.AvgPool2d, [2]"), [1], "mine.yaml", "nn.AvgPool2d"
    )


@pytest.mark.parametrize(
    ("stem", "message"),
    [
        ("MyBlock, []", "mine.yaml, row 1: there is no module called MyBlock"),
        (
            "nn.Linear, [3, 4]",
            "mine.yaml: what SPPF returns is not known, as the rows up to 2 do not run: RuntimeError: ",
        ),
        (
            "nn.Conv2d, []",
            "mine.yaml: what SPPF returns is not known, as the rows up to 2 do not run: TypeError: Conv2d.__init__() ",
        ),
    ],
)
def test_rows_that_do_not_run_are_refused(stem: str, message: str) -> None:
    assert refusal(config(stem), [2], "mine.yaml", "SPPF").startswith(message)
