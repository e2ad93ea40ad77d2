"""The weight gradient of large depthwise convolutions on a CPU, as a convolution of its own.

PyTorch computes it by a loop that takes up to 95 % of such a convolution's backward pass. It is itself a depthwise
convolution, of the input with the output's gradient as the kernel, and as one it takes the fast kernels of the forward
pass: a training step of FocalModulation then takes half the time.

Only what is called is changed, not the modules: checkpoints, exporters and whatever counts layers see `nn.Conv2d`.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from yolo_focal.arguments import is_traced


def fast_gradients(training: bool) -> AbstractContextManager[object]:
    """Return a context in which depthwise convolutions have the fast weight gradient where it pays.

    Args:
        training: Whether the module that calls them is in training mode; in evaluation mode nothing is changed, and
            neither while operations are recorded.
    """
    return _FastGradients() if training and not is_traced() else nullcontext()


class _FastGradients(TorchFunctionMode):
    """Sees each call of a torch function, and computes convolutions that `_pays` accepts by `_Depthwise`."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        # A part of the module may be compiled while the module itself is not.
        if function is F.conv2d and not kwargs and not is_traced() and _pays(*args):
            x, weight, *_, (dilation, _), _ = args
            return _Depthwise.apply(x, weight, dilation)
        return function(*args, **(kwargs or {}))


def _pays(x: Any, weight: Any, bias: Any = None, *geometry: Any) -> bool:
    """Return whether a convolution is a depthwise one with the fast gradient, in the arguments that nn.Conv2d gives.

    It is one of plain tensors in float32 or float64, without bias, with a kernel of 5 to 13 or a dilated one of 3, that
    keeps the height and width. Measured in both memory formats: 3x3 without dilation gains nothing, and above 13 oneDNN
    has no fast kernel.
    """
    if not (
        type(x) is Tensor
        and x.is_cpu
        and type(weight) is nn.Parameter
        and weight.requires_grad
        and x.dtype == weight.dtype
        and x.dtype in (torch.float32, torch.float64)
        and x.dim() == 4
        and x.numel()
        and bias is None
    ):
        return False
    groups, per_group, height, kernel = weight.shape
    dilation = geometry[2][0]
    reach = dilation * (kernel // 2)
    return (
        (per_group, height, kernel % 2) == (1, kernel, 1)
        and reach >= 2
        and kernel <= 13
        and geometry == ((1, 1), (reach, reach), (dilation, dilation), groups)
    )


class _Depthwise(torch.autograd.Function):
    """A depthwise convolution that keeps the height and width: input, weight `(C, 1, k, k)`, dilation."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, weight: Tensor, dilation: int) -> Tensor:
        with torch.autocast("cpu", enabled=False):
            return _convolve(x, weight, dilation)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, int], output: Tensor) -> None:  # noqa: ARG004
        x, weight, ctx.dilation = inputs
        ctx.save_for_backward(x, weight)
        ctx.save_for_forward(x, weight)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor, None]:
        x, weight = ctx.saved_tensors
        batch, channels, height, width = x.shape
        with torch.autocast("cpu", enabled=False):
            grad_x = _convolve(grad, weight.flip(2, 3), ctx.dilation) if ctx.needs_input_grad[0] else None
            # Each channel of each image is a map of its own, with the output's gradient there as its kernel.
            per_image = F.conv2d(
                x.reshape(1, batch * channels, height, width),
                grad.reshape(batch * channels, 1, height, width),
                stride=ctx.dilation,
                padding=ctx.dilation * (weight.shape[-1] // 2),
                groups=batch * channels,
            )
        return grad_x, per_image.reshape(batch, *weight.shape).sum(0), None

    @staticmethod
    def jvp(ctx: Any, x_tangent: Tensor, weight_tangent: Tensor, _: None) -> Tensor:
        x, weight = ctx.saved_tensors
        return _convolve(x_tangent, weight, ctx.dilation) + _convolve(x, weight_tangent, ctx.dilation)


def _convolve(x: Tensor, weight: Tensor, dilation: int) -> Tensor:
    padding = dilation * (weight.shape[-1] // 2)
    return F.conv2d(x, weight, dilation=dilation, padding=padding, groups=weight.shape[0])
