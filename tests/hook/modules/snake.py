"""DySnakeConv: Dynamic Snake Convolution along x and y (Qi et al., ICCV 2023, arXiv 2307.08388, section on DSConv)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

import yolo_focal


@yolo_focal.register(like="Conv")
class DySnakeConv(nn.Module):
    """A convolution joined with two others whose taps form a line that bends with the input, along x and along y.

    Args:
        c1: Channels of the input.
        c2: Channels of the output.
        k: Number of taps of a line; odd, at least 3.

    Shape:
        Input `(B, c1, H, W)`, output `(B, c2, H, W)`.
    """

    def __init__(self, c1: int, c2: int, k: int = 9) -> None:
        super().__init__()
        self.reach = k // 2
        self.offset = nn.Conv2d(c1, 4 * self.reach, 3, padding=1)  # towards the left, the right, the top, the bottom
        self.plain = nn.Conv2d(c1, c2, 3, padding=1)
        self.along_x = nn.Conv2d(c1, c2, (1, k), stride=(1, k))
        self.along_y = nn.Conv2d(c1, c2, (k, 1), stride=(k, 1))
        self.join = nn.Conv2d(3 * c2, c2, 1)
        self.norm = nn.GroupNorm(math.gcd(c2, 4), c2)
        self.act = nn.SiLU()

    def forward(self, x: Tensor) -> Tensor:
        """Return the feature map of the three convolutions."""
        b, _, h, w = x.shape
        offset = self.offset(x)
        exact = torch.promote_types(offset.dtype, torch.float32)  # half precision cannot count a map's positions
        # A tap is at most one position further aside than its neighbour nearer to the centre, which stays in place.
        walk = offset.to(exact).tanh().reshape(b, 4, self.reach, h, w).cumsum(2)
        left, right, top, bottom = walk.unbind(1)
        centre = torch.zeros_like(left[:, :1])
        aside_y = torch.cat((left.flip(1), centre, right), 1)  # (B, k, H, W)
        aside_x = torch.cat((top.flip(1), centre, bottom), 1)
        taps = torch.arange(-self.reach, self.reach + 1, device=x.device, dtype=exact)
        xs = torch.arange(w, device=x.device, dtype=exact)
        ys = torch.arange(h, device=x.device, dtype=exact).reshape(h, 1, 1)

        aside_y = aside_y.permute(0, 2, 3, 1) + ys  # (B, H, W, k): the taps of a position side by side
        across = _sampled(x, (xs.reshape(w, 1) + taps).expand_as(aside_y), aside_y)
        aside_x = aside_x.permute(0, 2, 1, 3) + xs  # (B, H, k, W): one below the other
        down = _sampled(x, aside_x, (ys + taps.reshape(-1, 1)).expand_as(aside_x))
        lines = self.along_x(across.flatten(3)), self.along_y(down.flatten(2, 3))
        return self.act(self.norm(self.join(torch.cat((self.plain(x), *lines), 1))))


def _sampled(x: Tensor, xs: Tensor, ys: Tensor) -> Tensor:
    """Read `(B, C, H, W)` between its positions, at `(B, U, V, T)` of them: `(B, C, U, V, T)`; outside it is zero."""
    b, c, h, w = x.shape
    # -1 and 1 are the outer edges of the map, which is well-defined for maps of one row or column too.
    grid = torch.stack(((2 * xs + 1) / w - 1, (2 * ys + 1) / h - 1), -1)
    read = F.grid_sample(x.to(grid.dtype), grid.flatten(2, 3), padding_mode="zeros", align_corners=False)
    return read.to(x.dtype).reshape(b, c, *xs.shape[1:])
