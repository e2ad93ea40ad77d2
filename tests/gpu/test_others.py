"""FocalNorm, FocalNet's parts, C2Focal and the collection: a GPU computes what a CPU does, forward and backward."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from yolo_focal import collection
from yolo_focal.focal import C2Focal, FocalEmbed, FocalNorm, FocalStage


def made(name: str) -> nn.Module:
    """A module of 16 channels in and out, the same each time."""
    torch.manual_seed(0)
    if name in collection.__all__:
        takes_two = name.startswith("C2f") or "Conv" in name
        module: nn.Module = getattr(collection, name)(*([16, 16] if takes_two else [16]))
    else:
        module = {
            "C2Focal": lambda: C2Focal(16, layer_scale=0.5),
            "C2Focal, layer": lambda: C2Focal(16, norm="layer", layer_scale=0.5),
            "FocalEmbed": lambda: FocalEmbed(16, 16, 2),
            "FocalStage": lambda: FocalStage(16, 2, layerscale_value=0.5),
            "FocalNorm": lambda: FocalNorm(16),
        }[name]()
    return module


NAMES = [*collection.__all__, "C2Focal", "C2Focal, layer", "FocalEmbed", "FocalStage", "FocalNorm"]


def step(module: nn.Module, x: Tensor) -> list[Tensor]:
    """Return the output of a training step and all gradients, in float64 on the CPU."""
    x = x.detach().requires_grad_()
    out = module(x)
    weights = torch.linspace(-1, 2, out.numel(), device=x.device).reshape(out.shape)
    (out * weights).sum().backward()
    return [t.detach().double().cpu() for t in (out, x.grad, *(p.grad for p in module.parameters()))]


@pytest.mark.parametrize("name", NAMES)
def test_it_computes_what_it_does_on_the_cpu(name: str, device: str) -> None:
    torch.manual_seed(1)
    x = torch.randn(4, 16, 9, 7)
    exact = step(made(name).double(), x.double())
    scale = max(float(value.norm()) for value in exact[2:])
    for ours, value in zip(step(made(name).to(device), x.to(device)), exact, strict=True):
        # A gradient that is zero but for rounding, as of a bias before a norm, is measured by the largest.
        assert (ours - value).norm() <= 2e-4 * max(float(value.norm()), 0.01 * scale)


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith(("C2Focal", "Focal"))])
def test_channels_last_stays(name: str, device: str) -> None:
    module = made(name).to(device)
    x = torch.randn(2, 16, 8, 6, device=device)
    expected = module(x)
    found = module.to(memory_format=torch.channels_last)(x.contiguous(memory_format=torch.channels_last))
    if device == "cuda" or name not in {"FocalEmbed", "FocalNorm"}:  # on a CPU norms leave their maps in channels-last
        assert expected.is_contiguous()
    assert found.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_the_fused_norm_is_as_exact_as_the_plain_one(
    device: str, dtype: torch.dtype, layout: torch.memory_format
) -> None:
    torch.manual_seed(0)
    norm = FocalNorm(48).to(device)
    with torch.no_grad():
        norm.weight.uniform_(0.5, 2)
        norm.bias.normal_()
    norm = norm.to(dtype)
    x = (300 * torch.randn(2, 48, 9, 7, device=device)).to(dtype).contiguous(memory_format=layout)
    exact = copy.deepcopy(norm).double()._by_channel(x.double()).detach()
    fused, plain = norm._fused(x), norm._by_channel(x)
    assert fused.dtype == plain.dtype == dtype
    assert plain.is_contiguous(memory_format=layout)
    if device == "cuda":
        assert norm(x).is_contiguous(memory_format=layout)
    errors = [float((out.detach().double() - exact).norm() / exact.norm()) for out in (fused, plain)]
    assert errors[0] <= 2 * errors[1] + torch.finfo(dtype).eps / 4
    assert errors[1] < 2 * torch.finfo(dtype).eps
