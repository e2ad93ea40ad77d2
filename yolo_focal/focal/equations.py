"""Focal modulation in plain PyTorch operations, which run on every device and can be traced and exported.

It is the reference that the tests compare the CPU implementation (`cpu.py`) with.

In float16, everything after the context levels is computed in float32. The aggregate and the modulator grow with the
square of the input's scale, and their product with the query with its cube: at an input of scale 10 and weights three
times PyTorch's initial ones, that product exceeds 65,504, float16's largest value, at 29 % of the outputs that would
themselves fit, and at scale 30 the aggregate does too. bfloat16 has float32's range and needs no such care.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from yolo_focal.focal.pristine import calls_are_standard, is_layer_norm, is_pointwise

Operation = Callable[[Tensor], Any]


def modulate(
    x: Tensor,
    proj_in: Operation,
    focal_layers: Iterable[Operation],
    h: Operation,
    ln: Operation | None,
    proj: Operation,
    *,
    normalize_modulator: bool,
) -> Tensor:
    """Compute focal modulation (paper, section 3.2) from its operations.

    Args:
        x: The feature map, `(B, C, H, W)`.
        proj_in: The input projection to query, context and gates, `(B, 2 * C + L + 1, H, W)`.
        focal_layers: Hierarchical contextualization: depthwise convolution and GELU of each of the L focal levels.
        h: The modulator's projection.
        ln: The LayerNorm of the modulated query over its last dimension, `(B, H, W, C)`, or None.
        proj: The output projection.
        normalize_modulator: Divide the sum of the gated aggregation by its number of terms, L + 1.

    Returns:
        The modulated feature map, `(B, C, H, W)`, of the input projection's dtype.
    """
    layers = list(focal_layers)
    channels, levels = x.shape[1], len(layers)
    projection = proj_in(x)
    dtype = projection.dtype
    query, context, gates = projection.split((channels, channels, levels + 1), 1)
    if dtype == torch.float16:
        gates, h, ln, proj = gates.float(), _in_float32(h), ln and _in_float32(ln), _in_float32(proj)
    aggregate = None
    for level, layer in enumerate(layers):
        context = layer(context)
        gated = context * gates[:, level : level + 1]
        aggregate = gated if aggregate is None else aggregate + gated
    global_context = F.gelu(context.mean((2, 3), keepdim=True))
    aggregate = aggregate + global_context * gates[:, levels:]
    if normalize_modulator:
        aggregate = aggregate / (levels + 1)
    out = query * h(aggregate)
    if ln is not None:
        out = ln(out.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    return proj(out).to(dtype)  # type: ignore[no-any-return]


def _in_float32(module: Any) -> Operation:
    """Return the operation of a submodule on float32 values, whatever the dtype of its weights, without autocast.

    A 1x1 convolution or LayerNorm that is as its constructor left it is computed from its weights. Any other module is
    called with its float16 parameters and buffers as float32 values, which hold the same numbers.
    """

    def operation(x: Tensor) -> Any:
        with nullcontext() if x.is_meta else torch.autocast(x.device.type, enabled=False):
            return _call_in_float32(module, x)

    return operation


def _call_in_float32(module: Any, x: Tensor) -> Any:
    if not any(tensor.dtype == torch.float16 for tensor in (*module.parameters(), *module.buffers())):
        return module(x)
    if not torch.compiler.is_compiling():  # a compiler traces the call at no cost
        with warnings.catch_warnings():
            # The shapes that are compared are constants.
            warnings.simplefilter("ignore", torch.jit.TracerWarning)  # type: ignore[attr-defined]
            is_read = calls_are_standard() and (is_layer_norm(module) or is_pointwise(module))
        if is_read:
            bias = None if module.bias is None else module.bias.float()
            if isinstance(module, nn.LayerNorm):
                return F.layer_norm(x, module.normalized_shape, module.weight.float(), bias, module.eps)
            return F.conv2d(x, module.weight.float(), bias)
    if torch.jit.is_tracing():  # type: ignore[attr-defined,no-untyped-call]
        return module(x.half()).float()  # torch.func.functional_call cannot be traced
    parameters = {name: _float(tensor) for name, tensor in module.named_parameters()}
    buffers = {name: _float(tensor) for name, tensor in module.named_buffers()}
    out = torch.func.functional_call(module, {**parameters, **buffers}, (x,))
    if module.training:
        with torch.no_grad():  # running statistics: the call updated the float32 values
            for name, buffer in module.named_buffers():
                buffer.copy_(buffers[name])
    return out


def _float(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.dtype == torch.float16 else tensor
