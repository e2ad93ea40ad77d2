"""DynamicConv: the dynamic convolution of ParameterNet (Han et al., CVPR 2024, arXiv 2306.14525), and a C2f of it.

Followed is the paper: two linear layers and a softmax over the experts. Implementations that are passed around with its
name have one linear layer and a sigmoid.
"""

from __future__ import annotations

from torch import Tensor, nn

from yolo_focal.arguments import check_map, integer, odd
from yolo_focal.collection.c2f import CrossStage, bottleneck
from yolo_focal.collection.kernels import convolve, kernel_weights


class DynamicConv(nn.Module):
    """A convolution whose kernel is, for each input, a weighted sum of the kernels of M experts (paper, section 3.2).

        a = softmax(linear(ReLU(linear(mean(X)))))
        Y = SiLU(BatchNorm((a_1 W_1 + ... + a_M W_M) * X))

    Args:
        c1: Channels of the input.
        c2: Channels of the output.
        k: Kernel size; odd.
        s: Stride.
        experts: Number M of experts.

    Shape:
        Input `(B, c1, H, W)`, output `(B, c2, ceil(H / s), ceil(W / s))`.

    Cost:
        `experts` times the weights of a convolution, with as many multiplications as the convolution at each position
        and `experts k^2 c1 c2` for each sample. Every sample of a batch has a kernel of its own in memory.
    """

    __module__ = "yolo_focal.collection"  # checkpoints name the class by this path

    def __init__(self, c1: int, c2: int, k: int = 1, s: int = 1, experts: int = 4) -> None:
        super().__init__()
        c1, c2 = integer("c1", c1, at_least=1), integer("c2", c2, at_least=1)
        k, self.stride = odd("k", k), integer("s", s, at_least=1)
        self.experts = integer("experts", experts, at_least=1)
        hidden = max(c1 // 4, 8)
        self.route = nn.Sequential(nn.Linear(c1, hidden), nn.ReLU(), nn.Linear(hidden, self.experts), nn.Softmax(1))
        self.weight = kernel_weights(self.experts, c1, c2, k)
        self.bn = nn.BatchNorm2d(c2)
        self.act = nn.SiLU()

    def forward(self, x: Tensor) -> Tensor:
        """Return the convolved feature map, `(B, c2, ceil(H / s), ceil(W / s))`."""
        check_map("DynamicConv", x, self)
        kernel = self.route(x.mean((2, 3))) @ self.weight.reshape(self.experts, -1)
        _, c1, k, _ = self.weight.shape
        y = convolve(x, kernel.reshape(x.shape[0], -1, c1, k, k), self.stride)
        return self.act(self.bn(y))  # type: ignore[no-any-return]


class C2fDynamic(CrossStage):
    """YOLOv8's C2f with dynamic convolutions throughout.

    Args:
        c1: Channels of the input.
        c2: Channels of the output; even.
        n: Number of bottlenecks.
        shortcut: Add its input to each bottleneck's output.
        experts: Number M of experts of each convolution.

    Shape:
        Input `(B, c1, H, W)`, output `(B, c2, H, W)`.
    """

    __module__ = "yolo_focal.collection"  # checkpoints name the class by this path

    def __init__(self, c1: int, c2: int, n: int = 1, shortcut: bool = False, experts: int = 4) -> None:
        hidden, n, shortcut = self.checked(c2, n, shortcut)

        def conv(inputs: int, outputs: int, k: int) -> DynamicConv:
            return DynamicConv(inputs, outputs, k, experts=experts)

        bottlenecks = [bottleneck(conv(hidden, hidden, 3), conv(hidden, hidden, 3)) for _ in range(n)]
        super().__init__(conv(c1, 2 * hidden, 1), bottlenecks, conv((2 + n) * hidden, c2, 1), shortcut)
