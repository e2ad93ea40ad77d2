"""Kernels that are summed, and convolution with one for each sample of the batch: ODConv and DynamicConv share them."""

from __future__ import annotations

import math
from functools import reduce
from operator import add

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn


def kernel_weights(kernels: int, c1: int, c2: int, k: int) -> nn.Parameter:
    """Return new weights of several kernels, `(kernels * c2, c1, k, k)`, initialised as those of nn.Conv2d.

    The kernels lie one behind the other, so that the weight has the four dimensions of a convolution's.
    """
    weight = nn.Parameter(torch.empty(kernels * c2, c1, k, k))
    nn.init.kaiming_uniform_(weight, a=math.sqrt(5))
    return weight


def convolve(x: Tensor, kernel: Tensor, stride: int) -> Tensor:
    """Convolve each sample with its own kernel, with the padding that keeps the size at stride 1.

    Args:
        x: `(B, c1, H, W)`.
        kernel: `(B, c2, c1, k, k)`; k is odd.
        stride: Stride in both directions.

    Returns:
        `(B, c2, ceil(H / stride), ceil(W / stride))`.
    """
    if torch.jit.is_tracing():  # type: ignore[attr-defined,no-untyped-call]
        return _by_products(x, kernel, stride)
    b, c1, h, w = x.shape
    # The samples side by side as groups of channels, so that each meets its own kernel.
    y = F.conv2d(
        x.reshape(1, b * c1, h, w), kernel.flatten(0, 1), stride=stride, padding=kernel.shape[-1] // 2, groups=b
    )
    return y.reshape(b, -1, y.shape[2], y.shape[3])


def _by_products(x: Tensor, kernel: Tensor, stride: int) -> Tensor:
    """Compute the same as a matrix product for each place of the kernel, which a file for any batch size can hold.

    In a traced convolution the number of groups, which is the batch size, would be a constant, and the kernel a
    computed one, which not every inference engine takes.
    """
    b, _, h, w = x.shape
    k = kernel.shape[-1]
    padded = F.pad(x, (k // 2, k // 2, k // 2, k // 2))
    taps = [padded[:, :, i : i + h : stride, j : j + w : stride] for i in range(k) for j in range(k)]
    matrices = kernel.flatten(3).unbind(3)
    y = reduce(add, (matrix @ tap.flatten(2) for matrix, tap in zip(matrices, taps, strict=True)))
    return y.reshape(b, -1, *taps[0].shape[2:])
