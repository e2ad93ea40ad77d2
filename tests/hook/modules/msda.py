"""MSDA: Multi-Scale Dilated Attention of DilateFormer (Jiao et al., arXiv 2302.01791), of sliding-window attentions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

import yolo_focal


@yolo_focal.register
class MSDA(nn.Module):
    """Attend at each position to a window around it, with a dilation for each group of heads.

    Args:
        dim: Channels of the input and of the output.
        heads: Number of heads over all groups; the next lower one that fits `dim` and the groups is taken.
        kernel: Side of the window; odd.
        dilations: Dilation r of each group; where their number does not divide `dim`, only the first few are used.

    Shape:
        Input and output: `(B, dim, H, W)`, any height and width.
    """

    def __init__(self, dim: int, heads: int = 8, kernel: int = 3, dilations: Sequence[int] = (1, 2, 3, 4)) -> None:
        super().__init__()
        groups = max(g for g in range(1, len(dilations) + 1) if dim % g == 0)
        channels = dim // groups
        self.dilations = tuple(dilations[:groups])
        self.kernel = kernel
        self.heads = max(h for h in range(1, max(heads // groups, 1) + 1) if channels % h == 0)  # of one group
        self.scale = (channels // self.heads) ** -0.5
        self.qkv = nn.Conv2d(dim, 3 * dim, 1, bias=False)
        self.proj = nn.Conv2d(dim, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the attended feature map, `(B, dim, H, W)` like the input."""
        parts = [part.chunk(len(self.dilations), 1) for part in self.qkv(x).chunk(3, 1)]
        attended = [self._swda(q, k, v, r) for q, k, v, r in zip(*parts, self.dilations, strict=True)]
        return self.proj(torch.cat(attended, 1))

    def _swda(self, query: Tensor, key: Tensor, value: Tensor, dilation: int) -> Tensor:
        """Sliding-window dilated attention: softmax(q K^T / sqrt(d)) V over the window of each position."""
        b, c, h, w = query.shape
        heads = (b, self.heads, c // self.heads, -1, h * w)  # batch, head, channel, place in the window, position
        reach = dilation * (self.kernel // 2)
        # What lies outside of the map is zero and takes part in the softmax, as in the paper.
        keys = F.unfold(key, self.kernel, dilation, reach).reshape(heads)
        values = F.unfold(value, self.kernel, dilation, reach).reshape(heads)
        scores = (query.reshape(heads) * self.scale * keys).sum(2, keepdim=True)
        return (scores.softmax(3) * values).sum(3).reshape(b, c, h, w)
