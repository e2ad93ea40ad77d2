"""Modules of the user's own in a model: what their rows build, and which attributes they may have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from blocks import write
from registrations import Fuses, Keeps, Scales, build
from torch import nn
from ultralytics import YOLO
from ultralytics.nn import tasks

import yolo_focal
from yolo_focal.hook.holder import Holder


class Repeats(nn.Module):
    """Repeats itself."""

    def __init__(self, c1: int, c2: int, n: int, k: int = 1) -> None:
        super().__init__()
        self.convs = nn.Sequential(nn.Conv2d(c1, c2, 1), *(nn.Conv2d(c2, c2, k, padding=k // 2) for _ in range(n)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.convs(x)


SCALED = {"scales": {"n": [0.5, 0.5, 64]}}


@pytest.mark.parametrize(
    ("cls", "options", "row", "top", "args"),
    [
        (Keeps, {}, [-1, 1, "Keeps", []], {}, {"conv": [24, 24, 3]}),
        (Keeps, {}, [-1, 1, "Keeps", [5]], {}, {"conv": [24, 24, 5]}),
        (Keeps, {}, [0, 1, "Keeps", [{"k": 1, "bias": False}]], {}, {"conv": [16, 16, 1]}),
        (Keeps, {"name": "Mine"}, [-2, 1, "Mine", []], {}, {"conv": [16, 16, 3]}),
        (Scales, {"like": "Conv"}, [-1, 1, "Scales", [40]], {}, {"conv": [24, 40, 1]}),
        (Scales, {"like": "Conv"}, [-1, 1, "Scales", [40, 3]], SCALED, {"conv": [16, 24, 3]}),
        (Scales, {"like": "Conv"}, [-1, 1, "Scales", [512]], SCALED, {"conv": [16, 32, 1]}),
        (Scales, {"like": tasks.Conv}, [-1, 1, "Scales", [40, {"k": 3}]], {}, {"conv": [24, 40, 3]}),
        (Keeps, {"like": "nn.Identity"}, [-1, 1, "Keeps", [24]], {}, {"conv": [24, 24, 3]}),
        (nn.Conv2d, {"name": "Plain", "like": "Conv"}, [-1, 1, "Plain", [40, 1]], {}, {"": [24, 40, 1]}),
    ],
)
def test_a_registered_module_builds(
    cls: type, options: dict[str, Any], row: list[Any], top: dict[str, Any], args: dict[str, list[int]], tmp_path: Path
) -> None:
    assert yolo_focal.register(**options)(cls) is cls
    layer = build(write(tmp_path, row, **top))[2]
    assert type(layer) is cls
    ((name, (c1, c2, k)),) = args.items()
    conv = layer.get_submodule(name)
    assert (conv.in_channels, conv.out_channels, conv.kernel_size[0]) == (c1, c2, k)


def test_repeats_go_to_the_constructor_or_stack_the_module(tmp_path: Path) -> None:
    yolo_focal.register(Repeats, like="C2f")
    yolo_focal.register(Keeps)
    once = build(write(tmp_path, [-1, 6, "Repeats", [40, 3]], **SCALED))[2]
    assert type(once) is Repeats and len(once.convs) == 1 + 3  # the scale's depth is 0.5
    stacked = build(write(tmp_path, [-1, 6, "Keeps", []], **SCALED))[2]
    assert [type(layer) for layer in stacked] == [Keeps] * 3


def test_a_rule_of_ones_own_reads_several_layers(tmp_path: Path) -> None:
    def rule(channels: list[int], args: list[Any], scaling: yolo_focal.Scaling) -> tuple[int, list[Any]]:
        c2 = scaling.channels(args[0])
        return c2, [channels, c2]

    yolo_focal.register(Fuses, channels=rule)
    layer = build(write(tmp_path, [[0, -1], 1, "Fuses", [40]], **SCALED))[2]
    assert [(conv.in_channels, conv.out_channels) for conv in layer.convs] == [(8, 24), (16, 24)]


class Attributes(nn.Module):
    """Has all four attributes that Ultralytics sets on a layer, one of each kind, and uses them."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.f = nn.Conv2d(dim, dim, 1)
        self.i = nn.Parameter(torch.ones(dim, 1, 1))
        self.register_buffer("np", torch.ones(1))
        self.type = "scaled"

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.f(x) * self.i * self.np * {"scaled": 2}[self.type]


class ClassAttribute(nn.Module):
    """Has such an attribute on its class."""

    type = 0.5

    def __init__(self, *_: int) -> None:
        super().__init__()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.type


class Method(nn.Module):
    """Has such a method."""

    def __init__(self, *_: int) -> None:
        super().__init__()

    def f(self, x: torch.Tensor) -> torch.Tensor:
        return 0.5 * x

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.f(x)


class Assigns(nn.Module):
    """Has methods that set such attributes on other objects, and has none itself."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(dim, dim, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        other = nn.Module()
        other.f = other.i = other.np = other.type = 1
        return self.conv(x)


@pytest.mark.parametrize("cls", [Attributes, ClassAttribute, Method])
def test_attributes_that_ultralytics_sets_too_keep_their_values(cls: type, tmp_path: Path) -> None:
    yolo_focal.register(cls)
    layer = build(write(tmp_path, [0, 1, cls.__name__, []]))[2]
    assert type(layer) is Holder and type(layer.module) is cls
    assert (layer.i, layer.f, layer.type) == (2, 0, f"{__name__}.{cls.__name__}")
    assert layer.np == sum(p.numel() for p in layer.parameters())
    x = torch.randn(1, 16, 4, 4)
    alone = cls(16)
    alone.load_state_dict(layer.module.state_dict())
    for _ in range(2):
        torch.testing.assert_close(layer(x), alone(x))


@pytest.mark.parametrize("cls", [Keeps, Assigns])
def test_other_modules_are_built_as_they_are(cls: type, tmp_path: Path) -> None:
    yolo_focal.register(cls)
    assert type(build(write(tmp_path, [-1, 1, cls.__name__, []]))[2]) is cls
    assert type(YOLO("yolov8n-focal.yaml").model.model[9]).__name__ == "FocalModulation"
