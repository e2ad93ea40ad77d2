"""What C2Focal is compared with: its frame with something else in it, and FocalModulation beside SPPF in one row.

YOLO_FOCAL_MODULES=scripts/experiments/focal_variants/focal_controls.py registers them. Each starts like C2Focal, with a
factor of zero for what it adds. The controls have as many parameters as C2Focal, within 3 %, at the width of YOLOv8n.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn
from ultralytics.nn.modules import SPPF, C2f
from ultralytics.nn.modules.block import Attention

import yolo_focal
from yolo_focal import C2Focal, FocalModulation


class _Control(C2Focal):
    """C2Focal with another token mixer in the place of FocalModulation."""

    def __init__(self, dim: int) -> None:
        super().__init__(dim)
        for block in self.blocks:
            block.focal = nn.Sequential(
                OrderedDict(modulation=self.mixer(self.hidden), bn=nn.BatchNorm2d(self.hidden))  # type: ignore[arg-type]
            )

    def mixer(self, dim: int) -> nn.Module:
        """Return the module that is in the place of FocalModulation."""
        raise NotImplementedError


@yolo_focal.register
class C2Depthwise(_Control):
    """A depthwise 7x7 convolution, FocalModulation's first kernel, between two 1x1 convolutions."""

    def mixer(self, dim: int) -> nn.Module:
        """Return the convolutions."""
        depthwise = nn.Conv2d(2 * dim, 2 * dim, 7, padding=3, groups=2 * dim, bias=False)
        return nn.Sequential(nn.Conv2d(dim, 2 * dim, 1), depthwise, nn.GELU(), nn.Conv2d(2 * dim, dim, 1))


@yolo_focal.register
class C2Attention(_Control):
    """C2PSA's attention, with wider queries and keys than there to have FocalModulation's size."""

    def mixer(self, dim: int) -> nn.Module:
        """Return the attention."""
        return Attention(dim, num_heads=max(dim // 64, 1), attn_ratio=1.5)


@yolo_focal.register
class C2fResidual(C2f):
    """A plain C2f of C2Focal's size, as a residual that starts as nothing."""

    def __init__(self, dim: int) -> None:
        super().__init__(dim, dim, 1, True, 1, 0.365)
        self.bn = nn.BatchNorm2d(dim)
        nn.init.zeros_(self.bn.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Return the layer's output, of the input's shape."""
        return x + self.bn(super().forward(x))


@yolo_focal.register
class SPPFFocal(SPPF):
    """SPPF with FocalModulation beside it: SPPF's tensors keep their names, so that its weights carry over."""

    def __init__(self, dim: int) -> None:
        super().__init__(dim, dim)
        self.cv1.act = nn.SiLU()  # as Ultralytics' parser sets it for the SPPF of YOLOv8 and YOLO11
        self.focal = FocalModulation(dim)
        self.bn = nn.BatchNorm2d(dim)
        nn.init.zeros_(self.bn.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Return the layer's output, of the input's shape."""
        out: torch.Tensor = super().forward(x)
        return out + self.bn(self.focal(x))
