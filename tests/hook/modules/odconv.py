"""ODConv: Omni-Dimensional Dynamic Convolution (Li et al., ICLR 2022, arXiv 2209.07947)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

import yolo_focal


@yolo_focal.register(like="Conv")
class ODConv(nn.Module):
    """A convolution whose kernel is made for each input, by attentions over all four dimensions of the kernel space.

    Args:
        c1: Channels of the input.
        c2: Channels of the output.
        k: Kernel size; odd.
        s: Stride.
        reduction: Hidden units of the attentions as a fraction of `c1`; there are at least 16.
        kernels: Number n of kernels that are summed.

    Shape:
        Input `(B, c1, H, W)`, output `(B, c2, ceil(H / s), ceil(W / s))`.
    """

    def __init__(self, c1: int, c2: int, k: int = 3, s: int = 1, reduction: float = 0.0625, kernels: int = 4) -> None:
        super().__init__()
        self.stride = s
        self.kernels = kernels
        hidden = max(int(c1 * reduction), 16)
        self.fc = nn.Linear(c1, hidden)
        self.spatial = nn.Linear(hidden, k * k)
        self.inputs = nn.Linear(hidden, c1)
        self.filters = nn.Linear(hidden, c2)
        self.number = nn.Linear(hidden, kernels)
        # The n kernels one behind the other, so that the weight has the four dimensions of a convolution's.
        self.weight = nn.Parameter(torch.empty(kernels * c2, c1, k, k))
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))  # as nn.Conv2d
        self.bn = nn.BatchNorm2d(c2)
        self.act = nn.SiLU()

    def forward(self, x: Tensor) -> Tensor:
        """Return the convolved feature map."""
        b, c1, h, w = x.shape
        _, _, k, _ = self.weight.shape
        pooled = F.relu(self.fc(x.mean((2, 3))))
        kernel = self.number(pooled).softmax(1) @ self.weight.reshape(self.kernels, -1)
        kernel = kernel.reshape(b, -1, c1, k, k)
        kernel = kernel * self.spatial(pooled).sigmoid().reshape(b, 1, 1, k, k)
        kernel = kernel * self.inputs(pooled).sigmoid().reshape(b, 1, c1, 1, 1)
        kernel = kernel * self.filters(pooled).sigmoid().reshape(b, -1, 1, 1, 1)
        # The samples side by side as groups of channels, so that each meets its own kernel.
        y = F.conv2d(x.reshape(1, b * c1, h, w), kernel.flatten(0, 1), stride=self.stride, padding=k // 2, groups=b)
        return self.act(self.bn(y.reshape(b, -1, *y.shape[2:])))
