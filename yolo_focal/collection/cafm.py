"""CAFM: Convolution and Attention Fusion Module of HCANet (Hu et al., IEEE GRSL 2024, arXiv 2403.10067).

Followed is the paper. The authors' code differs from it in the local branch: there it starts from the attention's own
query, key and value, mixes these per head, and ends in a grouped 3x3x3 convolution. Here it is as the paper describes
it: a 1x1 convolution of the input, a channel shuffle, and one 3x3x3 convolution over channels, height and width.

As in the authors' code, queries and keys have length 1 before their product, and each head multiplies the scores by a
learned temperature (the paper divides by it).
"""

from __future__ import annotations

import math
from functools import reduce
from operator import add

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from yolo_focal.arguments import check_map, divisor, integer


class CAFM(nn.Module):
    """Add what a convolution sees nearby to what an attention between channels sees in the whole map.

        local  = conv3x3x3(shuffle(conv1x1(X)))
        Q, K, V = depthwise3x3(conv1x1(X))
        global = conv1x1(softmax(t Q K^T) V) + X
        Y = local + global

    The attention is between the channels of a head: `Q`, `K` and `V` have a row for each channel, with a column for
    each position.

    Args:
        dim: Channels of the input and of the output.
        heads: Number of heads, and of groups that are shuffled; `dim` must be a multiple of it.

    Shape:
        Input and output: `(B, dim, H, W)`, of any height and width.

    Cost:
        `5 dim^2 + 27 dim` weights; `5 dim^2 + 2 dim^2 / heads + 54 dim` multiplications at each position, and about
        eleven maps of the input's size in memory.
    """

    __module__ = "yolo_focal.collection"  # checkpoints name the class by this path

    def __init__(self, dim: int, heads: int = 4) -> None:
        super().__init__()
        dim = integer("dim", dim, at_least=1)
        self.heads = divisor("heads", heads, dim, "channels")
        self.local1x1 = nn.Conv2d(dim, dim, 1)
        # A kernel over channels, height and width. A Conv3d's weight has five dimensions, with
        # which no model can be given the channels-last layout that Ultralytics may ask for.
        self.local3x3x3 = nn.Parameter(torch.empty(1, 3, 3, 3).uniform_(-1, 1) / math.sqrt(27))
        self.qkv1x1 = nn.Conv2d(dim, 3 * dim, 1)
        self.qkv3x3 = nn.Conv2d(3 * dim, 3 * dim, 3, padding=1, groups=3 * dim)
        self.temperature = nn.Parameter(torch.ones(self.heads))
        self.proj = nn.Conv2d(dim, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the sum of both branches, `(B, dim, H, W)` like the input."""
        check_map("CAFM", x, self.local1x1)
        return self._local(x) + self._global(x)

    def _local(self, x: Tensor) -> Tensor:
        y = self.local1x1(x)
        b, _, h, w = y.shape
        c = self.local1x1.weight.shape[0]
        # Channel shuffle: each group of channels is dealt out over all of them.
        shuffled = y.reshape(b, self.heads, c // self.heads, h, w).transpose(1, 2)
        padded = F.pad(shuffled.reshape(b, c, h, w), (0, 0, 0, 0, 1, 1))
        # The kernel's three layers, each a 3x3 kernel that all channels share: several times faster than a Conv3d.
        layers = (
            F.conv2d(padded[:, i : i + c], self.local3x3x3[:, i].expand(c, 1, 3, 3), padding=1, groups=c)
            for i in range(3)
        )
        return reduce(add, layers)

    def _global(self, x: Tensor) -> Tensor:
        b, _, h, w = x.shape
        query, key, value = self.qkv3x3(self.qkv1x1(x)).reshape(b, 3, self.heads, -1, h * w).unbind(1)
        # Half precision overflows in the sum of squares over a map.
        exact = torch.promote_types(query.dtype, torch.float32)
        query, key = (F.normalize(part.to(exact), dim=-1).to(value.dtype) for part in (query, key))
        scores = query @ key.transpose(-2, -1) * self.temperature.reshape(-1, 1, 1)
        attended = scores.softmax(-1).to(value.dtype) @ value
        return self.proj(attended.reshape(b, -1, h, w)) + x  # type: ignore[no-any-return]
