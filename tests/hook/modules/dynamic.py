"""DynamicConv: the dynamic convolution of ParameterNet (Han et al., CVPR 2024, arXiv 2306.14525), and a C2f of it."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

import yolo_focal


@yolo_focal.register(like="Conv")
class DynamicConv(nn.Module):
    """A convolution whose kernel is, for each input, a weighted sum of the kernels of M experts.

    Args:
        c1: Channels of the input.
        c2: Channels of the output.
        k: Kernel size; odd.
        s: Stride.
        experts: Number M of experts.

    Shape:
        Input `(B, c1, H, W)`, output `(B, c2, ceil(H / s), ceil(W / s))`.
    """

    def __init__(self, c1: int, c2: int, k: int = 1, s: int = 1, experts: int = 4) -> None:
        super().__init__()
        self.stride = s
        self.experts = experts
        hidden = max(c1 // 4, 8)
        self.route = nn.Sequential(nn.Linear(c1, hidden), nn.ReLU(), nn.Linear(hidden, experts), nn.Softmax(1))
        # The experts one behind the other, so that the weight has the four dimensions of a convolution's.
        self.weight = nn.Parameter(torch.empty(experts * c2, c1, k, k))
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))  # as nn.Conv2d
        self.bn = nn.BatchNorm2d(c2)
        self.act = nn.SiLU()

    def forward(self, x: Tensor) -> Tensor:
        """Return the convolved feature map."""
        b, c1, h, w = x.shape
        _, _, k, _ = self.weight.shape
        kernel = self.route(x.mean((2, 3))) @ self.weight.reshape(self.experts, -1)
        # The samples side by side as groups of channels, so that each meets its own kernel.
        side_by_side, kernel = x.reshape(1, b * c1, h, w), kernel.reshape(-1, c1, k, k)
        y = F.conv2d(side_by_side, kernel, stride=self.stride, padding=k // 2, groups=b)
        return self.act(self.bn(y.reshape(b, -1, *y.shape[2:])))


@yolo_focal.register(like="C2f")
class C2fDynamic(nn.Module):
    """A block like YOLOv8's C2f with dynamic convolutions: half of the channels pass n bottlenecks, all are joined.

    Args:
        c1: Channels of the input.
        c2: Channels of the output.
        n: Number of bottlenecks.
        shortcut: Add its input to each bottleneck's output.

    Shape:
        Input `(B, c1, H, W)`, output `(B, c2, H, W)`.
    """

    def __init__(self, c1: int, c2: int, n: int = 1, shortcut: bool = False) -> None:
        super().__init__()
        hidden = c2 // 2
        self.shortcut = shortcut
        self.enter = DynamicConv(c1, 2 * hidden)
        self.bottlenecks = nn.ModuleList(
            nn.Sequential(DynamicConv(hidden, hidden, 3), DynamicConv(hidden, hidden, 3)) for _ in range(n)
        )
        self.leave = DynamicConv((2 + n) * hidden, c2)

    def forward(self, x: Tensor) -> Tensor:
        """Return the feature map of the joined channels."""
        parts = list(self.enter(x).chunk(2, 1))
        for bottleneck in self.bottlenecks:
            y = bottleneck(parts[-1])
            parts.append(parts[-1] + y if self.shortcut else y)
        return self.leave(torch.cat(parts, 1))
