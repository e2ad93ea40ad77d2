"""Backbones that return several maps, as forks have them: one row of the model YAML for five layers.

A fork's own network gives the maps the indices 0 to 4, the last maps the last of them. Here the backbone is layer 0,
and four layers behind it return one map each, so that the installed release's network runs it as it is.
"""

from __future__ import annotations

from typing import Any, cast

from torch import Tensor, nn

NAME = "yolo_focal.BackboneMap"  # no file can name a module so
MAPS = 4


class BackboneMap(nn.Module):
    """One of the maps that a backbone returns.

    Args:
        index: Its index among the fork's layers, from 1 to 4.
    """

    def __init__(self, index: int) -> None:
        super().__init__()
        self.index = index

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Return the map; the backbone's first one where it returns fewer."""
        return maps[self.of(maps)]

    def of(self, maps: list[Any]) -> int:
        """Return the map's index in what the backbone returns."""
        return max(self.index - 1 - MAPS, -len(maps))


def rows() -> list[list[Any]]:
    """Return the rows behind a backbone's."""
    return [[0, 1, NAME, [index]] for index in range(1, MAPS + 1)]


def restore(network: nn.Module) -> None:
    """Give a network that a fork has trained the layers behind its backbone, if it has one."""
    layers = cast(nn.Sequential, network.model)
    backbone, *others = layers
    if not hasattr(backbone, "backbone"):
        return
    maps = [BackboneMap(index) for index in range(1, MAPS + 1)]
    backbone.i = 0  # type: ignore[assignment]
    for i, layer in enumerate(maps, start=1):
        layer.i, layer.f, layer.type, layer.np = i, 0, NAME, 0  # type: ignore[assignment]
    network.model = nn.Sequential(backbone, *maps, *others)
    network.save = sorted({0, *network.save})  # type: ignore[misc, assignment]
