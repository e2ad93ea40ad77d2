"""EMA: Efficient Multi-scale Attention with cross-spatial learning (Ouyang et al., ICASSP 2023, arXiv 2305.13563).

Differences from the authors' code:

- The normalisation of the 1x1 branch is over all channels of a group (`GroupNorm` with one group). Their code gives
  each channel a group of its own: the mean of a channel that is normalised by itself is its bias, whatever the input,
  so the weights that this branch gives to the other one would be constants.
- The means along the height and the width go through the shared 1x1 convolution one by one, which is equal to
  concatenating them first: a 1x1 convolution does not mix positions.
"""

from __future__ import annotations

from torch import Tensor, nn

from yolo_focal.arguments import check_map, divisor, integer


class EMA(nn.Module):
    """Weigh every position of a feature map, in groups of channels that share their weights (paper, section 3).

    With a group of channels `X`, `P_h` and `P_w` the means along the width and the height, and `P` the mean of both:

        A = GN(X * sigmoid(conv1x1(P_h X)) * sigmoid(conv1x1(P_w X)))
        B = conv3x3(X)
        Y = X * sigmoid(softmax(P A) . B + softmax(P B) . A)

    where the softmax is over the channels and `.` sums the channels with these weights, at each position.

    Args:
        dim: Channels of the input and of the output.
        factor: Number of groups G; `dim` must be a multiple of it. The paper's code has 8 and 32.

    Shape:
        Input and output: `(B, dim, H, W)`, of any height and width.

    Cost:
        `10 (dim / factor)^2` weights; `9 dim^2 / factor` multiplications at each position, and six maps of the input's
        size in memory.
    """

    __module__ = "yolo_focal.collection"  # checkpoints name the class by this path

    def __init__(self, dim: int, factor: int = 8) -> None:
        super().__init__()
        dim = integer("dim", dim, at_least=1)
        self.groups = divisor("factor", factor, dim, "channels")
        channels = dim // self.groups
        self.conv1x1 = nn.Conv2d(channels, channels, 1)
        self.conv3x3 = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm = nn.GroupNorm(1, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return the weighted feature map, `(B, dim, H, W)` like the input."""
        check_map("EMA", x, self.conv1x1, self.groups)
        b, c, h, w = x.shape
        group = x.reshape(b * self.groups, c // self.groups, h, w)
        gate_h = self.conv1x1(group.mean(3, keepdim=True)).sigmoid()
        gate_w = self.conv1x1(group.mean(2, keepdim=True)).sigmoid()
        branch1 = self.norm(group * gate_h * gate_w)
        branch3 = self.conv3x3(group)
        weights = _mixed(branch3, by=branch1) + _mixed(branch1, by=branch3)
        return (group * weights.sigmoid()).reshape(b, c, h, w)


def _mixed(branch: Tensor, by: Tensor) -> Tensor:
    """Sum the channels of `branch` with the softmax of the means of `by`: `(B, C, H, W)` to `(B, 1, H, W)`."""
    b, _, h, w = branch.shape
    weights = by.mean((2, 3)).softmax(1)
    return (weights.unsqueeze(1) @ branch.flatten(2)).reshape(b, 1, h, w)
