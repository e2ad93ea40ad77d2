"""MSFN: Multi-Scale Feed-forward Network of HCANet (Hu et al., IEEE GRSL 2024, arXiv 2403.10067).

Followed is the authors' code: three projections of the input, one for each scale, and the product of what the three
depthwise convolutions make of them. Their 3x3x3 convolution of a map of depth 1 is a 3x3 convolution; their layers have
no biases.
"""

from __future__ import annotations

import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from yolo_focal.arguments import check_map, integer, positive
from yolo_focal.focal.depthwise import fast_gradients


class MSFN(nn.Module):
    """A feed-forward network whose hidden channels are gated by what lies around them at two scales.

        X1, X2, X3 = conv1x1(X)
        Y = conv1x1(GELU(depthwise3x3(X1)) * depthwise3x3(X2, dilation 2) * depthwise3x3(X3, dilation 3))

    In the paper it stands behind a normalisation and inside a residual connection. Its output grows with the cube of
    its input's scale: put it behind a layer that normalises, as all of Ultralytics' convolutions do.

    Args:
        dim: Channels of the input and of the output.
        expansion: Ratio of hidden channels to `dim`; the authors' code has 2.66.

    Shape:
        Input and output: `(B, dim, H, W)`, of any height and width.

    Cost:
        `4 expansion dim^2 + 27 expansion dim` weights, and as many multiplications at each position; about
        `8 expansion` maps of the input's size in memory.
    """

    __module__ = "yolo_focal.collection"  # checkpoints name the class by this path

    def __init__(self, dim: int, expansion: float = 2.66) -> None:
        super().__init__()
        dim = integer("dim", dim, at_least=1)
        hidden = int(dim * positive("expansion", expansion, 2.66))
        if hidden < 1:
            raise ValueError(f"expansion={expansion!r}: {dim} channels would become none; write at least {1 / dim:g}")
        self.expand = nn.Conv2d(dim, 3 * hidden, 1, bias=False)
        self.near = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden, bias=False)
        self.dilated2 = nn.Conv2d(hidden, hidden, 3, padding=2, dilation=2, groups=hidden, bias=False)
        self.dilated3 = nn.Conv2d(hidden, hidden, 3, padding=3, dilation=3, groups=hidden, bias=False)
        self.proj = nn.Conv2d(hidden, dim, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the network's output, `(B, dim, H, W)` like the input."""
        check_map("MSFN", x, self.expand)
        near, middle, far = self.expand(x).chunk(3, 1)
        with fast_gradients(self.training):
            gated = F.gelu(self.near(near)) * self.dilated2(middle) * self.dilated3(far)
        return self.proj(gated)  # type: ignore[no-any-return]
