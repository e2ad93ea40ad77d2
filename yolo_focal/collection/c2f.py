"""What blocks like YOLOv8's C2f share: half of the channels pass bottlenecks, and every stage's output is joined.

The submodules have Ultralytics' names (`cv1`, `m.<n>.cv1`, `m.<n>.cv2`, `cv2`, in each `conv` and `bn`), so that the
weights of a C2f fit wherever the shapes are the same.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from yolo_focal.arguments import flag, integer


class CrossStage(nn.Module):
    """A first convolution, bottlenecks on half of its output, and a last convolution of all that they return.

    Args:
        first: From the input's channels to `2 * hidden`.
        bottlenecks: Each from `hidden` to `hidden` channels.
        last: From `(2 + n) * hidden` channels to the output's.
        shortcut: Add its input to each bottleneck's output.
    """

    def __init__(self, first: nn.Module, bottlenecks: Sequence[nn.Module], last: nn.Module, shortcut: bool) -> None:
        super().__init__()
        self.shortcut = shortcut
        self.cv1 = first
        self.cv2 = last
        self.m = nn.ModuleList(bottlenecks)

    @staticmethod
    def checked(c2: int, n: int, shortcut: bool) -> tuple[int, int, bool]:
        """Return the channels of a bottleneck, the number of bottlenecks and the flag, all checked."""
        c2 = integer("c2", c2, at_least=2)
        if c2 % 2:
            raise ValueError(f"c2={c2}: half of the channels pass the bottlenecks; write {c2 - 1} or {c2 + 1}")
        return c2 // 2, integer("n", n, at_least=1), flag("shortcut", shortcut)

    def forward(self, x: Tensor) -> Tensor:
        """Return the feature map of the joined channels."""
        first, second = self.cv1(x).chunk(2, 1)
        parts = [first, second]
        for bottleneck in self.m:
            y = bottleneck(parts[-1])
            parts.append(parts[-1] + y if self.shortcut else y)
        return self.cv2(torch.cat(parts, 1))  # type: ignore[no-any-return]


def bottleneck(first: nn.Module, second: nn.Module) -> nn.Sequential:
    """Return two convolutions in a row, under the names that Ultralytics gives them."""
    return nn.Sequential(OrderedDict(cv1=first, cv2=second))
