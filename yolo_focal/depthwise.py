"""A focal layer whose weight gradient is fast on the CPU.

On the CPU, PyTorch spends most of the backward pass of a depthwise convolution on the weight gradient. That gradient is
itself a depthwise convolution: of the input, each channel of each image for itself, with the output's gradient as its
kernel. Written so, it runs on the kernels of the forward pass.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

# What tells that a compiler is at work came with torch 2.1; before it, every call is plain.
_KNOWS_COMPILERS = hasattr(getattr(torch, "compiler", None), "is_compiling")


def contextualize(layer: nn.Module, x: Tensor) -> Tensor:
    """Apply a focal layer: a depthwise convolution of stride 1, odd kernel, "same" padding and no bias, then GELU.

    The result, and every gradient up to rounding, are those of `layer(x)`.

    Args:
        layer: The convolution and the activation.
        x: Its input, `(B, C, H, W)`.
    """
    convolution, activation = layer.children()
    if not _pays(convolution.weight, x) or _is_hooked(layer) or _is_hooked(convolution):
        return layer(x)  # type: ignore[no-any-return]
    return activation(_Depthwise.apply(x, convolution.weight))  # type: ignore[no-any-return]


def _pays(weight: Any, x: Tensor) -> bool:
    """Whether a weight gradient may be asked for, on the CPU, and nobody needs to see a plain convolution."""
    return (
        not torch.jit.is_tracing()  # type: ignore[attr-defined,no-untyped-call]
        and torch.is_grad_enabled()
        and weight.requires_grad
        and x.device.type == "cpu"
        and x.dtype == weight.dtype  # they differ under autocast
        and x.dtype in (torch.float32, torch.float64)
        and x.numel() > 0
        and _KNOWS_COMPILERS
        and not torch.compiler.is_compiling()
    )


def _is_hooked(module: nn.Module) -> bool:
    """Whether somebody watches the module's own call, which must then take place."""
    return any((module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks))


class _Depthwise(torch.autograd.Function):
    generate_vmap_rule = True  # for torch.func

    @staticmethod
    def forward(x: Tensor, weight: Tensor) -> Tensor:
        return F.conv2d(x, weight, padding=weight.shape[-1] // 2, groups=weight.shape[0])

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:  # noqa: ARG004
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        batch, channels, height, width = x.shape
        padding = weight.shape[-1] // 2
        grad_x = grad_weight = None
        if ctx.needs_input_grad[0]:
            grad_x = F.conv2d(grad, weight.flip(2, 3), padding=padding, groups=channels)
        if ctx.needs_input_grad[1]:
            planes = x.reshape(1, batch * channels, height, width)
            kernels = grad.reshape(batch * channels, 1, height, width)
            per_image = F.conv2d(planes, kernels, padding=padding, groups=batch * channels)
            grad_weight = per_image.reshape(batch, *weight.shape).sum(0)
        return grad_x, grad_weight
