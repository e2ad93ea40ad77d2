"""Half precision: finite wherever the exact value fits, and no further from it than plain operations in that type."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from yolo_focal import FocalModulation

SCALES = [0.01, 0.1, 1.0, 10.0, 30.0]


def plainly(module: FocalModulation, x: Tensor) -> Tensor:
    """Compute focal modulation with each operation in the type of its inputs or of autocast."""
    query, context, gates = module.proj_in(x).split((module.dim, module.dim, module.focal_level + 1), 1)
    total = 0
    for level, layer in enumerate(module.focal_layers):
        context = layer(context)
        total = total + context * gates[:, level : level + 1]
    total = total + F.gelu(context.mean((2, 3), keepdim=True)) * gates[:, -1:]
    out = query * module.h(total)
    if module.ln is not None:
        out = module.ln(out.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    return module.proj(out)


def example(scale: float, gain: float, dtype: torch.dtype, **config: bool) -> tuple[FocalModulation, Tensor, Tensor]:
    """Return a module and an input whose values `dtype` represents exactly, and the output in float64."""
    torch.manual_seed(0)
    module = FocalModulation(48, **config)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_((gain * parameter).to(dtype))
    x = (scale * torch.randn(2, 48, 12, 11)).to(dtype).float()
    exact = copy.deepcopy(module).double()(x.double()).detach()
    return module, x, exact


def run(module: FocalModulation, x: Tensor, dtype: torch.dtype, pure: bool, forward) -> Tensor:
    if pure:
        return forward(copy.deepcopy(module).to(dtype), x.to(dtype)).detach()
    with torch.autocast("cpu", dtype):
        return forward(module, x).detach()


@pytest.mark.parametrize("config", [{}, {"use_postln": True}])
@pytest.mark.parametrize("pure", [True, False], ids=["pure", "autocast"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("gain", [1.0, 3.0])
def test_finite_and_no_further_from_exact(
    gain: float, scale: float, dtype: torch.dtype, pure: bool, config: dict
) -> None:
    module, x, exact = example(scale, gain, dtype, **config)
    ours = run(module, x, dtype, pure, lambda m, x: m(x))
    plain = run(module, x, dtype, pure, plainly)
    assert ours.dtype == plain.dtype
    # A value next to the type's largest is rounded to either side of it.
    fits = exact.abs() < 0.99 * torch.finfo(dtype).max
    assert ours[fits].isfinite().all()
    both = fits & plain.isfinite()
    error, plain_error = ((out.double() - exact)[both].norm() for out in (ours, plain))
    assert error <= 1.02 * plain_error


def test_plain_float16_would_overflow() -> None:
    """What float32 is for: without it, values that fit are lost."""
    module, x, exact = example(10.0, 3.0, torch.float16)
    fits = exact.abs() < torch.finfo(torch.float16).max
    lost = ~run(module, x, torch.float16, True, plainly).isfinite() & fits
    assert lost.float().mean() > 0.1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_gradients_under_autocast(dtype: torch.dtype) -> None:
    module, x, _ = example(1.0, 1.0, dtype)
    x.requires_grad_()
    tensors = [x, *module.parameters()]
    exact = torch.autograd.grad(module(x).square().sum(), tensors)
    with torch.autocast("cpu", dtype):
        out = module(x)
    for ours, theirs in zip(torch.autograd.grad(out.float().square().sum(), tensors), exact, strict=True):
        assert ours.dtype == torch.float32
        assert (ours - theirs).norm() < 8 * torch.finfo(dtype).eps * theirs.norm()


@pytest.mark.parametrize("config", [{}, {"use_postln": True}])
def test_float16_can_be_traced_and_exported(config: dict) -> None:
    module, x = FocalModulation(8, **config).half(), torch.randn(1, 8, 6, 5).half()
    expected = module(x)
    torch.testing.assert_close(torch.jit.trace(module, x)(x), expected)
    torch.testing.assert_close(torch.export.export(module, (x,)).module()(x), expected)
    assert module.to("meta")(x.to("meta")).dtype == torch.float16
