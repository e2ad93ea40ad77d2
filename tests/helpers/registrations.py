"""Modules of the user's own, as tests register them, and the layers of a model that has them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from ultralytics import YOLO
from ultralytics.nn.modules import SPPF

from yolo_focal import FocalModulation
from yolo_focal.hook.modules import registry

BUILT_IN = list(registry.registered())


class Keeps(nn.Module):
    """Keeps its channels."""

    def __init__(self, dim: int, k: int = 3, *, bias: bool = True) -> None:
        super().__init__()
        self.conv = nn.Conv2d(dim, dim, k, padding=k // 2, bias=bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x)


class Scales(nn.Module):
    """Changes its channels."""

    def __init__(self, c1: int, c2: int, k: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(c1, c2, k, padding=k // 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x)


class Fuses(nn.Module):
    """Reads two layers."""

    def __init__(self, channels: list[int], c2: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(c1, c2, 1) for c1 in channels)

    def forward(self, maps: list[torch.Tensor]) -> torch.Tensor:
        return torch.stack([conv(x) for conv, x in zip(self.convs, maps, strict=True)]).sum(0)


class Half(nn.Module):
    """Halves its input."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, x: Tensor) -> Tensor:
        return x / 2


class Shrink(Half):
    """Halves the resolution."""

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :, ::2, ::2]


class Beside(SPPF):
    """SPPF with FocalModulation beside it, which starts as nothing."""

    def __init__(self, dim: int) -> None:
        super().__init__(dim, dim)
        self.cv1.act = nn.SiLU()  # as Ultralytics' parser sets it for YOLOv8
        self.focal = FocalModulation(dim)
        self.scale = nn.Parameter(torch.zeros(dim, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + self.scale * self.focal(x)


def build(file: Path) -> Any:
    """Build the model, run it, and return its layers."""
    model = YOLO(str(file)).model.eval()
    assert model(torch.rand(1, 3, 64, 64))[0].shape == (1, 3)
    return model.model


def factory(dim: int) -> int:
    """Return no module."""
    return dim
