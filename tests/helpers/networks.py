"""Networks as Ultralytics builds them, with the same random weights each time."""

from __future__ import annotations

import torch
import ultralytics
from torch import nn


def network(name: str) -> nn.Module:
    """Return an untrained network, as it predicts."""
    torch.manual_seed(0)
    return (ultralytics.RTDETR if "rtdetr" in name else ultralytics.YOLO)(name).model.eval()
