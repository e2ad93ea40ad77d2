"""The paper's equations in plain PyTorch operations: what every device can run, and every tracer and exporter can read.

Whatever computes FocalModulation in another way (`cpu.py`) is held against this.

In float16 all that follows the context levels is computed in float32. The aggregate and the modulator grow with the
square of the input's scale and their product with the query with the cube: at an input of scale 10 and weights three
times PyTorch's initial ones that product passes 65,504, float16's largest number, at 29 % of the outputs that would
themselves fit, and at scale 30 the aggregate does too. bfloat16 has float32's range and is left as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import nullcontext
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

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
    """Focal modulation (paper, equation 4) of a feature map `(B, C, H, W)`, given the operations in their order.

    Args:
        x: The feature map.
        proj_in: Gives query, context and gates, `(B, 2 * C + L + 1, H, W)`.
        focal_layers: One for each of the L focal levels: depthwise convolution and GELU (equation 5).
        h: The modulator's projection.
        ln: Normalises the last dimension of the modulated query, moved there; or None.
        proj: The output projection.
        normalize_modulator: Divide the sum over the levels (equation 6) by their number, L + 1.
    """
    layers = list(focal_layers)
    channels, levels = x.shape[1], len(layers) + 1
    projection = proj_in(x)
    dtype = projection.dtype
    query, context, gates = projection.split((channels, channels, levels), 1)
    if dtype == torch.float16:
        gates, h, ln, proj = gates.float(), _in_float32(h), ln and _in_float32(ln), _in_float32(proj)
    aggregate = None
    for level, layer in enumerate(layers):
        context = layer(context)
        gated = context * gates[:, level : level + 1]
        aggregate = gated if aggregate is None else aggregate + gated
    global_context = F.gelu(context.mean((2, 3), keepdim=True))
    aggregate = aggregate + global_context * gates[:, levels - 1 :]
    if normalize_modulator:
        aggregate = aggregate / levels
    out = query * h(aggregate)
    if ln is not None:
        out = ln(out.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    return proj(out).to(dtype)  # type: ignore[no-any-return]


def _in_float32(module: Any) -> Operation:
    """Give the operation of a 1x1 convolution or a LayerNorm on float32 numbers, whatever its weights' type.

    Autocast is off for it. Its hooks run where its weights are float32 already, as under autocast.
    """

    def operation(x: Tensor) -> Any:
        with nullcontext() if x.is_meta else torch.autocast(x.device.type, enabled=False):
            if module.weight.dtype == torch.float32:
                return module(x)
            weight, bias = module.weight.float(), None if module.bias is None else module.bias.float()
            if isinstance(module, torch.nn.LayerNorm):
                return F.layer_norm(x, module.normalized_shape, weight, bias, module.eps)
            return F.conv2d(x, weight, bias)

    return operation
