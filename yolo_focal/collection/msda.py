"""MSDA: Multi-Scale Dilated Attention of DilateFormer (Jiao et al., IEEE TMM 2023, arXiv 2302.01791).

Differences from the authors' code, to whose output this is equal:

- Input and output are `(B, dim, H, W)`, and the linear layers are 1x1 convolutions.
- Keys and values are read as shifted slices of the padded map, one for each place of the window. Unfolding them, as
  the authors do, would hold `kernel^2` copies of each.
- The default dilations are 1, 2, 3 and 4, which go with channels in powers of two; the paper's are 1, 2 and 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import add

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from yolo_focal.arguments import check_map, divisor, integer, odd


class MSDA(nn.Module):
    """Attend at each position to a window around it, with a dilation for each group of heads (paper, section III-B).

    The heads are divided into groups, one for each dilation `r`. A head with query `q`, keys `K` and values `V` of `d`
    channels gives the position `(i, j)`

        softmax(q_ij K_r^T / sqrt(d)) V_r

    with the `kernel * kernel` keys and values at the positions `(i + p r, j + q r)`, `p` and `q` from
    `-(kernel - 1) / 2` to `(kernel - 1) / 2`. What lies outside of the map is zero and takes part in the softmax, as in
    the paper. All heads are joined by a linear layer.

    Args:
        dim: Channels of the input and of the output.
        heads: Number of heads over all groups; a multiple of the number of dilations that divides `dim`.
        kernel: Side of the window; odd.
        dilations: Dilation r of each group.

    Shape:
        Input and output: `(B, dim, H, W)`, of any height and width.

    Cost:
        `4 dim^2` weights; `4 dim^2 + 2 kernel^2 dim` multiplications at each position, and about nine maps of the
        input's size in memory.
    """

    __module__ = "yolo_focal.collection"  # checkpoints name the class by this path

    def __init__(self, dim: int, heads: int = 8, kernel: int = 3, dilations: Sequence[int] = (1, 2, 3, 4)) -> None:
        super().__init__()
        dim = integer("dim", dim, at_least=1)
        if isinstance(dilations, (str, int)) or not dilations:
            raise TypeError(f"dilations={dilations!r}: write a list of integers of at least 1, such as [1, 2, 3, 4]")
        self.dilations = tuple(integer("dilations", dilation, at_least=1) for dilation in dilations)
        total = divisor("heads", heads, dim, "channels")
        groups = len(self.dilations)
        if total % groups:
            raise ValueError(
                f"heads={total}: {groups} dilations need a multiple of {groups} heads; write heads={groups}, or "
                f"dilations of another length"
            )
        self.heads = total // groups  # of one group
        self.kernel = odd("kernel", kernel)
        self.scale = (dim // total) ** -0.5
        self.qkv = nn.Conv2d(dim, 3 * dim, 1, bias=False)
        self.proj = nn.Conv2d(dim, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the attended feature map, `(B, dim, H, W)` like the input."""
        check_map("MSDA", x, self.qkv)
        groups = len(self.dilations)
        parts = self.qkv(x).chunk(3 * groups, 1)  # each group's queries, then keys, then values
        attended = [
            self._attend(parts[i], parts[groups + i], parts[2 * groups + i], dilation)
            for i, dilation in enumerate(self.dilations)
        ]
        return self.proj(torch.cat(attended, 1))  # type: ignore[no-any-return]

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, dilation: int) -> Tensor:
        """Return what the heads of one dilation attend to, `(B, C, H, W)` like the query."""
        b, c, h, w = query.shape
        heads = (b, self.heads, c // self.heads, h, w)
        reach = dilation * (self.kernel // 2)
        key, value = (F.pad(part, (reach, reach, reach, reach)) for part in (key, value))
        steps = range(0, dilation * self.kernel, dilation)
        keys, values = (
            [part[:, :, y : y + h, x : x + w].reshape(heads) for y in steps for x in steps] for part in (key, value)
        )
        query = (query * self.scale).reshape(heads)
        scores = torch.stack([(query * key).sum(2, keepdim=True) for key in keys])
        weights = scores.softmax(0)
        return reduce(add, (weights[i] * value for i, value in enumerate(values))).flatten(1, 2)
