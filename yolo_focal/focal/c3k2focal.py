"""C3k2Focal: YOLO26's C3k2 with attention, with FocalModulation in the place of the attention.

The attention of a `C3k2` row (`attn=True`) computes a matrix of all pairs of positions, so that memory and time grow
with the square of an image's pixels; those of FocalModulation grow with the pixels. Everything else has Ultralytics'
names (`cv1`, `cv2`, `m.<n>.0`, `m.<n>.1.ffn`), so that the weights of a trained C3k2 carry over.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from yolo_focal.arguments import integer
from yolo_focal.focal.c2focal import C2FocalBlock, convolution, hidden_channels

__all__ = ["C3k2Focal", "ShortcutBottleneck"]


class ShortcutBottleneck(nn.Module):
    """Two 3x3 convolutions with half the channels between them, and a shortcut: `x + cv2(cv1(x))`.

    Args:
        dim: Channels of the input and of the output.

    Shape:
        Input and output: `(B, dim, H, W)`, of any height and width.
    """

    __module__ = "yolo_focal.focal"  # checkpoints name the class by this path

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.cv1 = convolution(dim, dim // 2, 3, nn.SiLU())
        self.cv2 = convolution(dim // 2, dim, 3, nn.SiLU())

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output, `(B, dim, H, W)` like the input."""
        return x + self.cv2(self.cv1(x))  # type: ignore[no-any-return]


class C3k2Focal(nn.Module):
    """Half of the channels pass bottlenecks, each with a `C2FocalBlock` behind it, and every stage's output is joined.

    The branches of FocalModulation start as nothing: the factors that end them start at 0, as in a new `C2Focal`.

    Args:
        c1: Channels of the input.
        c2: Channels of the output.
        n: Number of stages; in a model YAML, the row's repeats.
        e: Channels of a stage as a fraction of `c2`, above 0 and up to 1.

    Shape:
        Input `(B, c1, H, W)` and output `(B, c2, H, W)`, of any height and width.
    """

    __module__ = "yolo_focal.focal"  # checkpoints name the class by this path

    def __init__(self, c1: int, c2: int, n: int = 1, e: float = 0.5) -> None:
        super().__init__()
        hidden = hidden_channels(integer("c2", c2, at_least=1), e, at_least=2)
        n = integer("n", n, at_least=1)
        self.cv1 = convolution(integer("c1", c1, at_least=1), 2 * hidden, 1, nn.SiLU())
        self.cv2 = convolution((2 + n) * hidden, c2, 1, nn.SiLU())
        self.m = nn.ModuleList(nn.Sequential(ShortcutBottleneck(hidden), C2FocalBlock(hidden)) for _ in range(n))
        for stage in self.m:
            nn.init.zeros_(stage[1].focal.bn.weight)  # type: ignore[index,union-attr,arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """Return the layer's output, `(B, c2, H, W)`."""
        first, second = self.cv1(x).chunk(2, 1)
        parts = [first, second]
        for stage in self.m:
            parts.append(stage(parts[-1]))
        return self.cv2(torch.cat(parts, 1))  # type: ignore[no-any-return]
