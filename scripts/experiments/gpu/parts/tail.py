"""What the data types behind the context levels cost and lose under float16 autocast.

`ours` computes everything behind the context levels in float32 (yolo_focal/focal/equations.py). The variants compute
the gated aggregation and the modulator in one type, the product with the query and the output projection in another.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from functools import partial

import benchmark
import torch
import torch.nn.functional as F  # noqa: N812
from results import Job, Options, Row
from torch import Tensor, nn

from yolo_focal import FocalModulation

F16, F32, BF16 = torch.float16, torch.float32, torch.bfloat16
VARIANTS = {"float16": (F16, F16), "float32 product": (F16, F32), "bfloat16": (BF16, BF16), "float32": (F32, F32)}


class Variant(nn.Module):
    """A FocalModulation with its tail in given types.

    Args:
        module: The FocalModulation, whose parameters are used.
        types: Data types of the aggregation, and of the product with the query.
    """

    def __init__(self, module: FocalModulation, types: tuple[torch.dtype, torch.dtype]) -> None:
        super().__init__()
        self.module, self.types = module, types

    def forward(self, x: Tensor) -> Tensor:
        """Return the modulated feature map, in float16."""
        module = self.module
        aggregation, product = self.types
        query, context, gates = module.proj_in(x).split((module.dim, module.dim, module.focal_level + 1), 1)
        gates = gates.to(aggregation)
        total = torch.zeros((), dtype=aggregation, device=x.device)
        for level, layer in enumerate(module.focal_layers):
            context = layer(context)
            total = total + context.to(aggregation) * gates[:, level : level + 1]
        total = total + F.gelu(context.mean((2, 3), keepdim=True)).to(aggregation) * gates[:, -1:]
        with torch.autocast(x.device.type, enabled=False):
            modulator = F.conv2d(total, *weights(module.h, aggregation))
            out = query.to(product) * modulator.to(product)
            return F.conv2d(out, *weights(module.proj, product)).half()


def weights(convolution: nn.Conv2d, dtype: torch.dtype) -> tuple[Tensor, Tensor | None]:
    """Return weight and bias in a type."""
    bias = convolution.bias
    return convolution.weight.to(dtype), None if bias is None else bias.to(dtype)


def jobs(options: Options) -> Iterator[tuple[str, Job]]:
    """Yield errors, then times."""
    for gain in (1.0, 3.0):
        for scale in (1.0, 10.0, 30.0):
            yield f"error at gain {gain:g}, scale {scale:g}", partial(errors, options, gain, scale)
    shapes = (
        [(16, 6, 2)] if options.small else [(256, 20, 16), (256, 80, 16), (512, 40, 16), (512, 20, 1), (640, 20, 16)]
    )
    for layout in ("contiguous", "channels_last"):
        for dim, size, batch in shapes:
            yield (
                f"time, {layout}, dim {dim}, {size}x{size}, batch {batch}",
                partial(times, options, layout, dim, size, batch),
            )


def contenders(module: FocalModulation) -> dict[str, nn.Module]:
    """Return our module, then its variants with the same parameters."""
    return {"ours": module, **{name: Variant(module, types) for name, types in VARIANTS.items()}}


def errors(options: Options, gain: float, scale: float) -> list[Row]:
    """Compare with float64: weights `gain` times PyTorch's initial ones, inputs of the given scale."""
    torch.manual_seed(0)
    module = FocalModulation(16 if options.small else 256).to(options.device)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_((gain * parameter).half())
    x = (scale * torch.randn(2, module.dim, 20, 20, device=options.device)).half()
    exact = copy.deepcopy(module).double()(x.double()).detach()
    fits = exact.abs() < 0.99 * torch.finfo(F16).max
    rows = []
    for name, contender in contenders(module).items():
        with torch.no_grad(), torch.autocast(options.device, F16):
            out = contender(x)
        finite = out.isfinite() & fits
        lost = 1 - finite.sum() / fits.sum()
        error = (out.double() - exact)[finite].norm() / exact[finite].norm()
        rows.append({"tail": name, "gain": gain, "scale": scale, "lost": float(lost), "relative error": float(error)})
    return rows


def times(options: Options, layout: str, dim: int, size: int, batch: int) -> list[Row]:
    """Time forward pass and step of our module beside its variants."""
    settings = benchmark.Settings(
        device=options.device, dtype="float16", layout=layout, seconds=0.0 if options.small else 3.0
    )
    place = benchmark.LAYOUTS[layout]
    module = FocalModulation(dim).to(options.device, memory_format=place)
    x = benchmark.maps(settings, dim, size, batch)
    rows = []
    for kind in ("forward", "step"):
        seconds = benchmark.time_in_turns(settings, benchmark.passes_of(settings, kind, contenders(module), x))
        for row in benchmark.compare(kind, f"dim {dim}, {size}x{size}, batch {batch}", seconds):
            rows.append(
                {
                    "what": kind,
                    "layout": layout,
                    "where": row.where,
                    "ours, ms": row.ours,
                    "tail": row.other,
                    "its ms": row.others,
                    "ratio": row.ratio,
                    "quartiles": f"{row.low:.2f} to {row.high:.2f}",
                }
            )
    return rows
