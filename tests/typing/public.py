"""A user's file with every public name of yolo_focal, which type checkers must accept and understand."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from typing_extensions import assert_type

import yolo_focal
from yolo_focal import collection, focal


@yolo_focal.register
class Gate(nn.Module):
    def __init__(self, dim: int, k: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv2d(dim, dim, k, padding=k // 2)

    def forward(self, x: Tensor) -> Tensor:
        gated: Tensor = x * self.conv(x).sigmoid()
        return gated


@yolo_focal.register(like="C2f")
class Stack(nn.Module):
    def __init__(self, c1: int, c2: int, n: int = 1) -> None:
        super().__init__()
        self.convs = nn.Sequential(*(nn.Conv2d(c1 if i == 0 else c2, c2, 1) for i in range(n)))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.convs(x)
        return y


def rule(channels: list[int], args: list[int], scaling: yolo_focal.Scaling) -> tuple[int, list[int | list[int]]]:
    c2 = scaling.channels(args[0])
    return c2, [channels, c2, *args[1:]]


class Join(nn.Module):
    def __init__(self, channels: list[int], c2: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(sum(channels), c2, 1)

    def forward(self, maps: list[Tensor]) -> Tensor:
        y: Tensor = self.conv(torch.cat(maps, 1))
        return y


# The decorators and the function give the class back, not a type of less.
assert_type(Gate(16).conv, nn.Conv2d)
assert_type(Stack(16, 32, 2).convs, nn.Sequential)
assert_type(yolo_focal.register(Join, name="MyJoin", channels=rule, override=True)([8, 8], 16).conv, nn.Conv2d)

scaling = yolo_focal.Scaling(width=0.25, max_channels=1024, nc=80)
assert_type(scaling.channels(256), int)
assert_type(scaling.nc, "int | None")

module = yolo_focal.FocalModulation(64, 0.1, 3, 3, 2, True, bias=False, normalize_modulator=True)
assert_type(module.dim, int)
assert_type(module.focal_level, int)
assert_type(module.forward(torch.rand(1, 64, 8, 8)), Tensor)
block = yolo_focal.C2Focal(64, 2, e=0.5, focal_level=2, focal_window=7, focal_factor=2, norm="layer", layer_scale=0.0)
assert_type(block.forward(torch.rand(1, 64, 8, 8)), Tensor)
assert_type(yolo_focal.C3k2Focal(64, 128, 2, e=0.25).forward(torch.rand(1, 64, 8, 8)), Tensor)
layers: list[nn.Module] = [focal.FocalNorm(64), collection.EMA(64), collection.ODConv(64, 32)]

assert_type(yolo_focal.activate(), None)
assert_type(yolo_focal.is_active(), bool)
assert_type(yolo_focal.deactivate(), None)
assert_type(yolo_focal.__version__, str)


def measure(data: str) -> float:
    try:
        runs = yolo_focal.compare(data, ["yolov8n.yaml", "yolov8n-focal.yaml"], seeds=3, margin=0.005, epochs=50)
    except yolo_focal.ConfigError as error:
        assert isinstance(error, (yolo_focal.YoloFocalError, ValueError))
        return 0.0
    except yolo_focal.UnsupportedUltralyticsError:
        return 0.0
    return float(runs["finished"].sum())


assert_type(yolo_focal.visualize("best.pt", Path("photos"), layer=9), Path)
