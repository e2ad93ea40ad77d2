"""CAFM: Convolution and Attention Fusion Module of HCANet (Hu et al., IEEE GRSL 2024, arXiv 2403.10067)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

import yolo_focal


@yolo_focal.register
class CAFM(nn.Module):
    """Add what a convolution sees nearby to what an attention between channels sees in the whole map.

    Args:
        dim: Channels of the input and of the output.
        heads: Number of heads, and of groups that are shuffled; the largest divisor of `dim` not above it is taken.

    Shape:
        Input and output: `(B, dim, H, W)`, any height and width.
    """

    def __init__(self, dim: int, heads: int = 4) -> None:
        super().__init__()
        self.heads = max(h for h in range(1, heads + 1) if dim % h == 0)
        self.local1x1 = nn.Conv2d(dim, dim, 1)
        # A kernel over channels, height and width. A Conv3d's weight has five dimensions, with which no model can be
        # given the channels-last layout that Ultralytics may ask for.
        self.local3x3x3 = nn.Parameter(torch.empty(1, 3, 3, 3).uniform_(-1, 1) / math.sqrt(27))
        self.qkv1x1 = nn.Conv2d(dim, 3 * dim, 1)
        self.qkv3x3 = nn.Conv2d(3 * dim, 3 * dim, 3, padding=1, groups=3 * dim)
        self.temperature = nn.Parameter(torch.ones(self.heads))
        self.proj = nn.Conv2d(dim, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the sum of both branches, `(B, dim, H, W)` like the input."""
        return self._local(x) + self._global(x)

    def _local(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        # Channel shuffle: each group of channels is dealt out over all of them.
        shuffled = self.local1x1(x).reshape(b, self.heads, c // self.heads, h, w).transpose(1, 2)
        volume = shuffled.reshape(b, 1, c, h, w)
        return F.conv3d(volume, self.local3x3x3.unsqueeze(0), padding=1).squeeze(1)

    def _global(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        qkv = self.qkv3x3(self.qkv1x1(x)).reshape(b, 3, self.heads, c // self.heads, h * w)
        query, key, value = qkv.unbind(1)
        # Of length 1, so that their products do not grow with the map. The default eps of 1e-12 is 0 in float16.
        query, key = F.normalize(query, dim=-1, eps=1e-6), F.normalize(key, dim=-1, eps=1e-6)
        scores = query @ key.transpose(-2, -1) * self.temperature.reshape(-1, 1, 1)
        attended = scores.softmax(-1) @ value
        return self.proj(attended.reshape(b, c, h, w)) + x
