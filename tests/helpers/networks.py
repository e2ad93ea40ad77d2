"""Networks as Ultralytics builds them, untrained, with the same random weights each time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import ultralytics
import yaml
from torch import nn
from ultralytics import YOLO

TINY = [[-1, 1, "Conv", [16, 3, 2]], [-1, 1, "Conv", [32, 3, 2]]]  # rows before FocalModulation


def network(name: str) -> nn.Module:
    """Return an untrained network, as it predicts."""
    torch.manual_seed(0)
    return (ultralytics.RTDETR if "rtdetr" in name else ultralytics.YOLO)(name).model.eval()


def tiny(*rows: list[Any], name: str = "tiny.yaml", imgsz: int = 64) -> YOLO:
    """Build a classifier with these rows in it."""
    Path(name).write_text(yaml.safe_dump({"nc": 3, "backbone": [*TINY, *rows], "head": [[-1, 1, "Classify", ["nc"]]]}))
    torch.manual_seed(0)
    model = YOLO(name)
    model.overrides["imgsz"] = imgsz
    return model


def varied(module: nn.Module) -> nn.Module:
    """Give every norm statistics and weights of its own."""
    generator = torch.Generator().manual_seed(1)
    for part in module.modules():
        if isinstance(part, (nn.BatchNorm2d, nn.LayerNorm)):
            for tensor in (*part.parameters(), *part.buffers()):
                if tensor.is_floating_point():
                    tensor.data.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
    return module
