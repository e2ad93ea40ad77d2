"""MSFN: Multi-Scale Feed-forward Network of HCANet (Hu et al., IEEE GRSL 2024, arXiv 2403.10067)."""

from __future__ import annotations

import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

import yolo_focal


@yolo_focal.register
class MSFN(nn.Module):
    """A feed-forward network with a gate that looks around at two scales.

    Args:
        dim: Channels of the input and of the output.
        expansion: By how much the network is wider inside.

    Shape:
        Input and output: `(B, dim, H, W)`, any height and width.
    """

    def __init__(self, dim: int, expansion: float = 2.0) -> None:
        super().__init__()
        width = int(dim * expansion)
        self.expand_gate = nn.Conv2d(dim, width, 1)
        self.expand_plain = nn.Conv2d(dim, width, 1)
        self.dilated2 = nn.Conv2d(width, width, 3, padding=2, dilation=2, groups=width)
        self.dilated3 = nn.Conv2d(width, width, 3, padding=3, dilation=3, groups=width)
        self.proj = nn.Conv2d(width, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the network's output, `(B, dim, H, W)` like the input."""
        wide = self.expand_gate(x)
        gate = F.gelu(self.dilated2(wide) + self.dilated3(wide))
        return self.proj(gate * self.expand_plain(x))
