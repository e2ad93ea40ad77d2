"""Rows whose layers download weights when they are built."""

from __future__ import annotations

from typing import Any

from torch import nn

from yolo_focal.backbones import Timm


def leave_out(network: Any) -> None:
    """Let the YAML of a checkpoint's network say that its Timm layers start from no weights of timm's.

    A training goes on from a checkpoint by building the network from its YAML, and would download weights that the
    checkpoint's own then replace.

    Args:
        network: What a checkpoint holds; what is no network of rows stays as it is.
    """
    config, layers = getattr(network, "yaml", None), getattr(network, "model", None)
    if isinstance(config, dict) and isinstance(layers, nn.Sequential):
        for row, layer in zip([*config["backbone"], *config["head"]], layers, strict=False):
            if isinstance(layer, Timm):
                row[3] = [layer.name, None]
