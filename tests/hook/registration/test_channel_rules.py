"""Channel rules of the user's own: what they are told, and that they scale as the parser does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from blocks import write
from stock_files import build
from torch import nn
from ultralytics import YOLO

import yolo_focal


def van_b0(width: int = 8, deep: bool = False) -> nn.Module:
    """Return a module, as the backbones of many forks do."""
    return nn.Sequential(nn.Conv2d(24, width, 1), *[nn.Conv2d(width, width, 1)] * deep)


def test_a_function_that_returns_a_module_is_a_row(tmp_path: Path) -> None:
    yolo_focal.register(van_b0, channels=lambda _, args, __: (args[0], args))
    layer = YOLO(str(write(tmp_path, [-1, 1, "van_b0", [16, {"deep": True}]]))).model.model[2]
    assert [conv.out_channels for conv in layer] == [16, 16]
    assert layer.type == f"{__name__}.van_b0"


class Own(nn.Module):
    """A module for rules."""

    def __init__(self, *given: Any) -> None:
        super().__init__()
        self.given = given

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ([0.5, 0.25, 512], (0.25, 512, 3, "s", 0.5, 2, (), None)),
        ([0.5, 0.25, 512, 4, "x"], (0.25, 512, 3, "s", 0.5, 2, (4, "x"), None)),
    ],
)
def test_a_rule_is_told_all_of_the_scale(numbers: list[Any], expected: tuple[Any, ...]) -> None:
    told: list[Any] = []

    def rule(channels: int, args: list[Any], scaling: yolo_focal.Scaling) -> tuple[int, list[Any], int]:
        told.append(scaling)
        return channels, [scaling.repeats, *args], 1  # the constructor takes the repeats: they are not stacked

    yolo_focal.register(Own, channels=rule)
    convs = [[-1, 1, "Conv", [16]], [-1, 4, "Own", [7]], [-1, 1, "Conv", [16]]]
    layers, _ = build({"nc": 3, "scales": {"n": [1, 1, 64], "s": numbers}, "backbone": convs, "head": []}, "s")
    assert told == [expected]
    assert layers[1].given == (2, 7)
    assert [layers[index].conv.out_channels for index in (0, 2)] == [8, 8]


def test_a_rule_scales_as_the_parser_does_whatever_the_number_of_classes() -> None:
    yolo_focal.register(Own, channels=lambda _, args, scaling: (scaling.channels(args[0]), []))
    for nc in (3, 80):
        rows_of = [[-1, 1, "Conv", [80]], [-1, 1, "Own", [80]], [-1, 1, "Conv", [8]]]
        layers, _ = build({"nc": nc, "scales": {"n": [1, 0.25, 1024]}, "backbone": rows_of, "head": []}, "n")
        assert layers[0].conv.out_channels == layers[2].conv.in_channels == 24
