"""DySnakeConv: Dynamic Snake Convolution (Qi et al., ICCV 2023, arXiv 2307.08388, section 3.1), and a C2f with it.

Followed are the paper's equations. The authors' code differs from them, and from this, in these points:

- Their loop over the taps leaves the outermost offset of each side out of the sum along the line. Here every tap is
  moved by the sum of all offsets between it and the centre, as in the paper's equations 2 and 3.
- Their offsets are normalised over the batch before the hyperbolic tangent. The paper only bounds them to -1 to 1.
- Their interpolation repeats the map's border. Here the map is zero outside, as for other convolutions.
- They return the plain, the x and the y branch side by side, `3 c2` channels, or join them in the network around. Here
  a 1x1 convolution joins them.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from yolo_focal.arguments import check_map, integer, odd
from yolo_focal.collection.c2f import CrossStage, bottleneck
from yolo_focal.focal.c2focal import convolution


class DySnakeConv(nn.Module):
    """A convolution joined with two others whose taps form a line that bends with the input, along x and along y.

    With the taps numbered by their distance `c` from the centre, and offsets `d` between -1 and 1 that a 3x3
    convolution computes at each position, the line along x through `(x, y)` reads

        (x + c, y + d_1 + ... + d_c)     to the right, and likewise to the left

    so that neighbouring taps are at most one row apart, and the line is connected. Along y, the axes are exchanged. The
    map is interpolated bilinearly between its positions and is zero outside. Each line's taps meet the weights of a
    convolution.

        Y = SiLU(GroupNorm(conv1x1([conv3x3(X), line_x(X), line_y(X)])))

    Args:
        c1: Channels of the input.
        c2: Channels of the output.
        k: Number of taps of a line; odd, at least 3.

    Shape:
        Input `(B, c1, H, W)`, output `(B, c2, H, W)`, of any height and width.

    Cost:
        `(9 + 2 k) c1 c2 + 3 c2^2 + 18 (k - 1) c1` weights, and as many multiplications at each position. The sampled
        taps take `2 k` maps of the input's size in memory: with `k=9` eighteen.
    """

    __module__ = "yolo_focal.collection"  # checkpoints name the class by this path

    def __init__(self, c1: int, c2: int, k: int = 9) -> None:
        super().__init__()
        c1 = integer("c1", c1, at_least=1)
        c2 = integer("c2", c2, at_least=1)
        k = odd("k", k, at_least=3)
        self.reach = k // 2
        self.offset = nn.Conv2d(c1, 4 * self.reach, 3, padding=1)  # towards the left, the right, the top, the bottom
        self.plain = nn.Conv2d(c1, c2, 3, padding=1)
        self.along_x = nn.Conv2d(c1, c2, (1, k), stride=(1, k))
        self.along_y = nn.Conv2d(c1, c2, (1, k), stride=(1, k))
        self.join = nn.Conv2d(3 * c2, c2, 1)
        self.norm = nn.GroupNorm(math.gcd(c2, 4), c2)
        self.act = nn.SiLU()

    def forward(self, x: Tensor) -> Tensor:
        """Return the feature map of the three convolutions, `(B, c2, H, W)`."""
        check_map("DySnakeConv", x, self.offset)
        # Along x and along y one below the other: (B, C, 2H, W * k), the taps of a position side by side.
        across, down = self._sample(x).chunk(2, 2)
        joined = self.join(torch.cat((self.plain(x), self.along_x(across), self.along_y(down)), 1))
        return self.act(self.norm(joined))  # type: ignore[no-any-return]

    def _sample(self, x: Tensor) -> Tensor:
        b, _, h, w = x.shape
        offset = self.offset(x)
        exact = torch.promote_types(offset.dtype, torch.float32)  # half precision cannot count a map's positions
        walk = offset.to(exact).tanh().reshape(b, 4, self.reach, h, w).cumsum(2)
        left, right, top, bottom = walk.unbind(1)
        centre = torch.zeros_like(left[:, :1])
        aside = torch.stack((torch.cat((left.flip(1), centre, right), 1), torch.cat((top.flip(1), centre, bottom), 1)))
        aside = aside.permute(0, 1, 3, 4, 2)  # (2, B, H, W, k): along x, along y

        taps = torch.arange(-self.reach, self.reach + 1, device=x.device, dtype=exact)
        xs = torch.arange(w, device=x.device, dtype=exact).reshape(w, 1)
        ys = torch.arange(h, device=x.device, dtype=exact).reshape(h, 1, 1)
        along_x = torch.stack(((xs + taps).expand_as(aside[0]), ys + aside[0]), -1)
        along_y = torch.stack((xs + aside[1], (ys + taps).expand_as(aside[1])), -1)
        # -1 and 1 are the outer edges of the map, which is well-defined for maps of one row or column too.
        size = torch.stack((xs.new_ones(()) * w, xs.new_ones(()) * h))
        grid = (2 * torch.cat((along_x, along_y), 1) + 1) / size - 1
        read = F.grid_sample(x.to(exact), grid.flatten(2, 3), padding_mode="zeros", align_corners=False)
        return read.to(x.dtype)


class C2fSnake(CrossStage):
    """YOLOv8's C2f with a DySnakeConv in the place of the second convolution of each bottleneck.

    The other convolutions have the names and shapes of Ultralytics' C2f, and take over its weights.

    Args:
        c1: Channels of the input.
        c2: Channels of the output; even.
        n: Number of bottlenecks.
        shortcut: Add its input to each bottleneck's output.
        k: Number of taps of a line; odd, at least 3.

    Shape:
        Input `(B, c1, H, W)`, output `(B, c2, H, W)`.
    """

    __module__ = "yolo_focal.collection"  # checkpoints name the class by this path

    def __init__(self, c1: int, c2: int, n: int = 1, shortcut: bool = False, k: int = 9) -> None:
        hidden, n, shortcut = self.checked(c2, n, shortcut)
        super().__init__(
            convolution(c1, 2 * hidden, act=nn.SiLU()),
            [bottleneck(convolution(hidden, hidden, 3, nn.SiLU()), DySnakeConv(hidden, hidden, k)) for _ in range(n)],
            convolution((2 + n) * hidden, c2, act=nn.SiLU()),
            shortcut,
        )
