"""EMA: Efficient Multi-scale Attention with cross-spatial learning (Ouyang et al., ICASSP 2023, arXiv 2305.13563)."""

from __future__ import annotations

from torch import Tensor, nn

import yolo_focal


@yolo_focal.register
class EMA(nn.Module):
    """Weigh every position of a feature map, in groups of channels that share their weights.

    Args:
        dim: Channels of the input and of the output.
        factor: Number of groups G; the largest divisor of `dim` not above it is taken.

    Shape:
        Input and output: `(B, dim, H, W)`, any height and width.
    """

    def __init__(self, dim: int, factor: int = 8) -> None:
        super().__init__()
        self.groups = max(g for g in range(1, factor + 1) if dim % g == 0)
        channels = dim // self.groups
        self.conv1x1 = nn.Conv2d(channels, channels, 1)
        self.conv3x3 = nn.Conv2d(channels, channels, 3, padding=1)
        # Over all channels of a group together: the mean of a channel normalised by itself is its bias, whatever the
        # input, and the softmax over these means would be a constant.
        self.norm = nn.GroupNorm(1, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return the weighted feature map, `(B, dim, H, W)` like the input."""
        b, c, h, w = x.shape
        group = x.reshape(b * self.groups, c // self.groups, h, w)
        # The 1x1 branch: means along W and along H, through one convolution, are the two gates.
        gate_h = self.conv1x1(group.mean(3, keepdim=True)).sigmoid()
        gate_w = self.conv1x1(group.mean(2, keepdim=True)).sigmoid()
        branch1 = self.norm(group * gate_h * gate_w)
        branch3 = self.conv3x3(group)
        # Cross-spatial learning: the channels of either branch, summed with weights that the other one gives.
        weights = _mixed(branch3, by=branch1) + _mixed(branch1, by=branch3)
        return (group * weights.sigmoid()).reshape(b, c, h, w)


def _mixed(branch: Tensor, by: Tensor) -> Tensor:
    """Sum the channels of `branch` with the softmax of the means of `by`: `(B, C, H, W)` to `(B, 1, H, W)`."""
    b, _, h, w = branch.shape
    weights = by.mean((2, 3)).softmax(1)
    return (weights.unsqueeze(1) @ branch.flatten(2)).reshape(b, 1, h, w)
