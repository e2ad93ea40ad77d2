"""ODConv: Omni-Dimensional Dynamic Convolution (Li et al., ICLR 2022, arXiv 2209.07947).

Followed is the paper, with these choices of the authors' code: the attentions over the kernel's places, input channels
and filters are shared by the n kernels, and a 1x1 kernel has none over its places. Left out are that code's batch norm
behind the squeezed input, which fails on a batch of one sample, and its temperature, which the training loop would have
to lower epoch by epoch.
"""

from __future__ import annotations

import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from yolo_focal.arguments import check_map, integer, odd, positive
from yolo_focal.collection.kernels import convolve, kernel_weights


class ODConv(nn.Module):
    """A convolution whose kernel is made for each input, by attentions over all four dimensions of the kernel space.

        z = ReLU(linear(mean(X)))
        a_s, a_c, a_f = sigmoid(linear(z)), one for each place, input channel and filter;  a_w = softmax(linear(z))
        Y = SiLU(BatchNorm((sum_i a_wi a_f a_c a_s W_i) * X))

    The attention over input channels is multiplied with the input and that over filters with the output, which is equal
    and spares two passes over the kernels.

    Args:
        c1: Channels of the input.
        c2: Channels of the output.
        k: Kernel size; odd.
        s: Stride.
        reduction: Hidden units of the attentions as a fraction of `c1`, the paper's r; there are at least 16.
        kernels: Number n of kernels that are summed.

    Shape:
        Input `(B, c1, H, W)`, output `(B, c2, ceil(H / s), ceil(W / s))`.

    Cost:
        `kernels` times the weights of a convolution, with as many multiplications as the convolution at each position
        and `kernels k^2 c1 c2` for each sample. Every sample of a batch has a kernel of its own in memory.
    """

    __module__ = "yolo_focal.collection"  # checkpoints name the class by this path

    def __init__(self, c1: int, c2: int, k: int = 3, s: int = 1, reduction: float = 0.0625, kernels: int = 4) -> None:
        super().__init__()
        c1, c2 = integer("c1", c1, at_least=1), integer("c2", c2, at_least=1)
        k, self.stride = odd("k", k), integer("s", s, at_least=1)
        self.kernels = integer("kernels", kernels, at_least=1)
        hidden = max(int(c1 * positive("reduction", reduction, 0.0625)), 16)
        self.fc = nn.Linear(c1, hidden)
        self.spatial = nn.Linear(hidden, k * k) if k > 1 else None
        self.inputs = nn.Linear(hidden, c1)
        self.filters = nn.Linear(hidden, c2)
        self.number = nn.Linear(hidden, self.kernels)
        self.weight = kernel_weights(self.kernels, c1, c2, k)
        self.bn = nn.BatchNorm2d(c2)
        self.act = nn.SiLU()

    def forward(self, x: Tensor) -> Tensor:
        """Return the convolved feature map, `(B, c2, ceil(H / s), ceil(W / s))`."""
        check_map("ODConv", x, self)
        b = x.shape[0]
        _, c1, k, _ = self.weight.shape
        pooled = F.relu(self.fc(x.mean((2, 3))))
        kernel = self.number(pooled).softmax(1) @ self.weight.reshape(self.kernels, -1)
        kernel = kernel.reshape(b, -1, c1, k, k)
        if self.spatial is not None:
            kernel = kernel * self.spatial(pooled).sigmoid().reshape(b, 1, 1, k, k)
        y = convolve(x * self.inputs(pooled).sigmoid().reshape(b, c1, 1, 1), kernel, self.stride)
        y = y * self.filters(pooled).sigmoid().reshape(b, -1, 1, 1)
        return self.act(self.bn(y))  # type: ignore[no-any-return]
