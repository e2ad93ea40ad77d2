"""C2Focal: FocalModulation in the frame that YOLO11 gives its attention (C2PSA), as a residual that starts as nothing.

The paper (Yang et al., NeurIPS 2022, arXiv 2203.11926) never uses its module bare: a norm stands before it, a residual
and an MLP around it, and large models scale each branch by a learned factor per channel (LayerScale). Here the factors
are the weights of the BatchNorm that ends each branch, for three reasons:

- A branch has unit variance before its factor, whatever FocalModulation returns, so that a factor counts in standard
  deviations.
- Ultralytics leaves a parameter out of weight decay by the type of its layer, and BatchNorm is among these types in
  every release and with every optimizer. (A bare parameter is decayed: towards zero, where the branch ends. Named for a
  bias, it would get the learning rate of biases while training warms up.)
- In evaluation mode it is part of the convolution before it: onnxruntime and onnxslim fold the two into one. What is
  left beside the convolutions is the norm before FocalModulation.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor, nn

from yolo_focal.arguments import integer, number
from yolo_focal.focal.modulation import FocalModulation

__all__ = ["C2Focal", "C2FocalBlock"]


class C2FocalBlock(nn.Module):
    """FocalModulation and a feed-forward network, each as a residual.

    `x += g1 * FM(norm(x))`, then `x += g2 * FFN(x)`. The factors g1 and g2, one for each channel, are the weights of
    the BatchNorm that ends a branch; they start at 1. The feed-forward network has two 1x1 convolutions with twice the
    channels between them.

    Args:
        dim: Channels of the input and of the output.
        focal_level: Number of focal levels, as for `FocalModulation`.
        focal_window: Kernel size of the first focal level.
        focal_factor: Increase of the kernel size from one level to the next.
        norm: The norm before FocalModulation: "batch", or "layer" for a LayerNorm over the channels, as in the paper.

    Shape:
        Input and output: `(B, dim, H, W)`, of any height and width.
    """

    __module__ = "yolo_focal.focal"  # checkpoints name the class by this path

    def __init__(
        self, dim: int, focal_level: int = 2, focal_window: int = 7, focal_factor: int = 2, norm: str = "batch"
    ) -> None:
        super().__init__()
        if norm not in ("batch", "layer"):
            raise ValueError(f'norm={norm!r}: write "batch" or "layer"')
        self.norm = nn.LayerNorm(dim) if norm == "layer" else nn.BatchNorm2d(dim)
        modulation = FocalModulation(dim, focal_level=focal_level, focal_window=focal_window, focal_factor=focal_factor)
        self.focal = _named(modulation=modulation, bn=nn.BatchNorm2d(dim))
        self.ffn = nn.Sequential(convolution(dim, 2 * dim, act=nn.SiLU()), convolution(2 * dim, dim))

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output, `(B, dim, H, W)` like the input."""
        x = x + self.focal(self._normalize(x))
        return x + self.ffn(x)  # type: ignore[no-any-return]

    def _normalize(self, x: Tensor) -> Tensor:
        if isinstance(self.norm, nn.LayerNorm):
            return self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)  # type: ignore[no-any-return]
        return self.norm(x)  # type: ignore[no-any-return]


class C2Focal(nn.Module):
    """FocalModulation beside a shortcut, in a residual that computes the identity when new.

    A 1x1 convolution splits the input into two halves, `C2FocalBlock`s transform one of them, and a 1x1 convolution
    joins the two: `x + g * join(a, blocks(b))`. The factors g, one for each channel, are the weights of the join's
    BatchNorm. With the default `layer_scale=0` the output of a new layer is its input, and a trained network into which
    it is inserted computes what it computed before. At g = 0 only g and the join's bias have a gradient; from the first
    step on, when g is no longer zero, every parameter has one.

    Args:
        dim: Channels of the input and of the output.
        n: Number of blocks in sequence; in a model YAML, the row's repeats.
        e: Channels of each half as a fraction of `dim`, above 0 and up to 1.
        focal_level: Number of focal levels, as for `FocalModulation`.
        focal_window: Kernel size of the first focal level.
        focal_factor: Increase of the kernel size from one level to the next.
        norm: The norm before FocalModulation: "batch", or "layer" for a LayerNorm over the channels, as in the paper.
        layer_scale: Initial value of g, in standard deviations of the residual.

    Shape:
        Input and output: `(B, dim, H, W)`, of any height and width.
    """

    __module__ = "yolo_focal.focal"  # checkpoints name the class by this path

    def __init__(
        self,
        dim: int,
        n: int = 1,
        e: float = 0.5,
        focal_level: int = 2,
        focal_window: int = 7,
        focal_factor: int = 2,
        norm: str = "batch",
        layer_scale: float = 0.0,
    ) -> None:
        super().__init__()
        hidden = hidden_channels(integer("dim", dim, at_least=1), e)
        n = integer("n", n, at_least=1)
        # Not C2PSA's cv1, m and cv2: Ultralytics would load its weights into layers that mean something else.
        self.split = convolution(dim, 2 * hidden, act=nn.SiLU())
        self.blocks = nn.Sequential(
            *(C2FocalBlock(hidden, focal_level, focal_window, focal_factor, norm) for _ in range(n))
        )
        self.join = convolution(2 * hidden, dim)
        scale = number("layer_scale", layer_scale, lambda x: abs(x) < float("inf"), "write a number, such as 0.01")
        nn.init.constant_(self.join.bn.weight, scale)

    def forward(self, x: Tensor) -> Tensor:
        """Return the layer's output, `(B, dim, H, W)` like the input."""
        halves = self.split(x)
        hidden = self.blocks[0].norm.weight.shape[0]  # type: ignore[index,union-attr]
        a, b = halves[:, :-hidden], halves[:, -hidden:]
        return x + self.join(torch.cat((a, self.blocks(b)), 1))  # type: ignore[no-any-return]


def _named(**modules: nn.Module) -> Any:
    """Return a sequence of modules that have names."""
    return nn.Sequential(OrderedDict(modules))


def convolution(c1: int, c2: int, k: int = 1, act: nn.Module | None = None) -> Any:
    """Return a convolution that keeps height and width, with its BatchNorm and, if given, an activation."""
    layers = _named(conv=nn.Conv2d(c1, c2, k, padding=k // 2, bias=False), bn=nn.BatchNorm2d(c2))
    if act is not None:
        layers.add_module("act", act)
    return layers


def hidden_channels(dim: int, e: Any, at_least: int = 1) -> int:
    """Return a fraction of some channels, rounded down.

    Raises:
        ValueError: It is not above 0 and up to 1, or leaves too few channels.
    """
    number("e", e, lambda x: 0 < x <= 1, "write a number above 0 and up to 1, such as 0.5")
    hidden = int(dim * e)
    if hidden < at_least:
        least = math.ceil(1000 * at_least / dim) / 1000
        raise ValueError(f"e={e!r}: of {dim} channels that is {hidden or 'none'}; write at least {least}")
    return hidden
