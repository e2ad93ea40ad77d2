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
        expansion: Ratio of hidden channels to `dim`.

    Shape:
        Input and output: `(B, dim, H, W)`, any height and width.
    """

    def __init__(self, dim: int, expansion: float = 2.0) -> None:
        super().__init__()
        hidden = int(dim * expansion)
        self.expand_gate = nn.Conv2d(dim, hidden, 1)
        self.expand_plain = nn.Conv2d(dim, hidden, 1)
        self.dilated2 = nn.Conv2d(hidden, hidden, 3, padding=2, dilation=2, groups=hidden)
        self.dilated3 = nn.Conv2d(hidden, hidden, 3, padding=3, dilation=3, groups=hidden)
        self.proj = nn.Conv2d(hidden, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the network's output, `(B, dim, H, W)` like the input."""
        hidden = self.expand_gate(x)
        gate = F.gelu(self.dilated2(hidden) + self.dilated3(hidden))
        return self.proj(gate * self.expand_plain(x))
