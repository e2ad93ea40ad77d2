"""Focal modulation as the equations with every part of a module called."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from yolo_focal import FocalModulation

DIM = 6


def by_calls(module: FocalModulation, x: Tensor) -> Tensor:
    """Compute focal modulation by calling each part, in float16 the last ones as float32 modules."""
    query, context, gates = module.proj_in(x).split((DIM, DIM, module.focal_level + 1), 1)
    half = x.dtype == torch.float16
    total: Any = 0
    gates = gates.float() if half else gates
    for level, layer in enumerate(module.focal_layers):
        context = layer(context)
        total = total + context * gates[:, level : level + 1]
    total = total + F.gelu(context.mean((2, 3), keepdim=True)) * gates[:, -1:]
    if module.normalize_modulator:
        total = total / (module.focal_level + 1)
    out = query * in_float32(module.h, total)
    if module.ln is not None:
        out = in_float32(module.ln, out.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    return in_float32(module.proj, out).to(x.dtype)


def in_float32(part: nn.Module, x: Tensor) -> Tensor:
    """Call a part, its float16 parameters replaced by float32 ones while it runs, and so computed weights."""
    tensors = dict((*part.named_parameters(), *part.named_buffers()))
    if not any(t.dtype == torch.float16 for t in tensors.values()):
        return part(x)
    computed = {each: each.weight for each in part.modules() if "source" in each._parameters}
    try:
        for each, weight in computed.items():
            each.weight = weight.float()
        return torch.func.functional_call(
            part, {name: t.float() if t.dtype == torch.float16 else t for name, t in tensors.items()}, (x,)
        )
    finally:
        for each, weight in computed.items():
            each.weight = weight
