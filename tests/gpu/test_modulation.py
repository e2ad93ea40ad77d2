"""FocalModulation on a GPU: equal to timm's, compiled, captured, under autocast, in channels-last."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from timm.layers import LayerNorm2d
from timm.models.focalnet import FocalModulation as TimmFocalModulation
from torch import Tensor, nn

from yolo_focal import FocalModulation

DTYPES = [torch.float32, torch.float16, torch.bfloat16]


def shape(device: str) -> tuple[int, int, int, int]:
    """Batch, channels, height and width: on the CPU few enough for the plain operations, which a GPU runs."""
    return (2, 16, 9, 7) if device == "cpu" else (4, 256, 40, 33)


def pair(device: str, use_postln: bool = False) -> tuple[FocalModulation, nn.Module, Tensor]:
    """Return our module and timm's with the same weights, and an input, in float64 on the device."""
    torch.manual_seed(0)
    batch, dim, height, width = shape(device)
    norm = partial(LayerNorm2d, eps=1e-5)
    theirs = TimmFocalModulation(dim, 7, 2, use_post_norm=use_postln, norm_layer=norm)
    ours = FocalModulation(dim, use_postln=use_postln)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(batch, dim, height, width, dtype=torch.float64, device=device)
    return ours.double().to(device), theirs.double().to(device), x


def with_gradients(module: nn.Module, x: Tensor) -> list[Tensor]:
    """Return the output, the input's gradient, and the parameters' in the order of our module's names."""
    x = x.detach().requires_grad_()
    out = module(x)
    weights = torch.linspace(-1, 2, out.numel(), dtype=torch.float64, device=x.device).reshape(out.shape)
    (out * weights.to(out.dtype)).sum().backward()
    names = {"f.": "proj_in.", "norm.": "ln."}
    gradients = {name: p.grad for name, p in module.named_parameters()}
    for theirs, ours in names.items():
        gradients = {
            name.replace(theirs, ours, 1) if name.startswith(theirs) else name: g for name, g in gradients.items()
        }
    return [out.detach(), x.grad, *(gradients[name] for name in sorted(gradients))]


def distance(tensor: Tensor, exact: Tensor) -> float:
    """Return the relative distance of a tensor, of whichever shape, to exact values."""
    return float((tensor.double().flatten() - exact.double().flatten()).norm() / exact.double().norm())


@pytest.mark.parametrize("use_postln", [False, True])
def test_in_float64_it_equals_timms(device: str, use_postln: bool) -> None:
    ours, theirs, x = pair(device, use_postln)
    for a, b in zip(with_gradients(ours, x), with_gradients(theirs, x), strict=True):
        assert distance(a, b) < 1e-10


@pytest.mark.parametrize("use_postln", [False, True])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_it_is_as_exact_as_timms(device: str, dtype: torch.dtype, use_postln: bool) -> None:
    """Both are compared with float64, forward and backward: in half precision neither is the other's truth."""
    ours, theirs, x = pair(device, use_postln)
    for module in (ours, theirs):
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.copy_(parameter.to(dtype))
    x = x.to(dtype).double()
    exact = with_gradients(ours, x)
    by_module = []
    for module in (ours, theirs):
        module.zero_grad()
        by_module.append(with_gradients(copy.deepcopy(module).to(dtype), x.to(dtype)))
    for our, their, value in zip(*by_module, exact, strict=True):
        assert our.dtype == dtype and our.isfinite().all()
        assert distance(our, value) <= 1.5 * distance(their, value) + torch.finfo(dtype).eps


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_gradients_under_autocast(device: str, dtype: torch.dtype) -> None:
    module, _, x = pair(device)
    exact = with_gradients(module, x)
    module = module.float()
    module.zero_grad()
    x = x.float().requires_grad_()
    with torch.autocast(device, dtype, enabled=dtype != torch.float32):
        out = module(x)
    assert out.dtype == dtype
    weights = torch.linspace(-1, 2, out.numel(), dtype=torch.float64, device=device).reshape(out.shape)
    (out.double() * weights).sum().backward()
    gradients = [x.grad, *(p.grad for _, p in sorted(module.named_parameters()))]
    for gradient, value in zip(gradients, exact[1:], strict=True):
        assert gradient.dtype == torch.float32
        assert distance(gradient, value) < 100 * torch.finfo(dtype).eps


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_compiled_as_one_graph_of_any_size(slow_device: str, dtype: torch.dtype) -> None:
    device = slow_device
    torch.compiler.reset()
    module, _, x = pair(device)
    module, x = module.to(dtype), x.to(dtype)
    # On the CPU without code generation, which takes a C++ compiler and a minute.
    backend = "inductor" if device == "cuda" else "aot_eager"
    compiled = torch.compile(module, fullgraph=True, dynamic=True, backend=backend)
    for height in (x.shape[2], x.shape[2] - 2, x.shape[2] - 4):
        part = x[:, :, :height].contiguous()
        expected = with_gradients(module, part)
        module.zero_grad()
        found = with_gradients(compiled, part)
        module.zero_grad()
        for a, b in zip(found, expected, strict=True):
            assert distance(a, b) < 20 * torch.finfo(dtype).eps


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_it_learns_under_autocast_with_a_scaler(device: str, dtype: torch.dtype) -> None:
    """In 300 steps what another module of its kind computes; no step but the scaler's first few is left out."""
    batch, dim, height, width = shape(device)
    steps = 40 if device == "cpu" else 300
    torch.manual_seed(0)
    teacher, pupil = FocalModulation(dim).to(device), FocalModulation(dim).to(device)
    lr = 2e-2 if device == "cpu" else 2e-3  # of fewer channels and fewer steps
    optimizer = torch.optim.AdamW(pupil.parameters(), lr, weight_decay=0.0)
    scaler = torch.amp.GradScaler(device)
    losses, scales = [], []
    for _ in range(steps):
        x = torch.randn(batch, dim, height, width, device=device)
        with torch.no_grad():
            target = 10 * teacher(x)
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device, dtype):
            out = pupil(x)
        loss = (10 * out.float() - target).square().mean()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        losses.append(loss.item())
        scales.append(scaler.get_scale())
    assert torch.tensor(losses).isfinite().all()
    assert all(p.isfinite().all() for p in pupil.parameters())
    assert sum(losses[-10:]) < 0.5 * sum(losses[:10])
    assert all(later >= scales[20] for later in scales[20:])


@pytest.fixture
def formats(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether the input of each convolution that runs has its channels last in memory."""
    seen: list[bool] = []
    original = F.conv2d

    def conv2d(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        seen.append(x.stride(1) == 1)
        return original(x, *args, **kwargs)

    monkeypatch.setattr(F, "conv2d", conv2d)
    return seen


@pytest.mark.parametrize("use_postln", [False, True])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_channels_last_reaches_every_convolution(
    device: str, dtype: torch.dtype, use_postln: bool, formats: list[bool]
) -> None:
    module, _, x = pair(device, use_postln)
    module, x = module.to(dtype), x.to(dtype)
    expected = with_gradients(module, x)
    assert not any(formats[:4])  # behind a LayerNorm over the channels, the last one's are
    formats.clear()
    module.zero_grad()
    found = with_gradients(
        module.to(memory_format=torch.channels_last), x.contiguous(memory_format=torch.channels_last)
    )
    assert len(formats) == 5 and all(formats)
    assert found[0].is_contiguous(memory_format=torch.channels_last)
    assert found[1].is_contiguous(memory_format=torch.channels_last)
    for a, b in zip(found, expected, strict=True):
        assert distance(a, b) < 20 * torch.finfo(dtype).eps


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_captured_in_a_cuda_graph(cuda: str, dtype: torch.dtype) -> None:
    """A forward pass, then a training step with another input than that of the capture."""
    module, _, x = pair(cuda)
    module, x = module.to(dtype), x.to(dtype)
    other = x.flip(0)
    expected = with_gradients(module, other)
    module.zero_grad()
    graph, place = torch.cuda.CUDAGraph(), x.clone()
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.no_grad(), torch.cuda.stream(stream):
        module(place)
    torch.cuda.current_stream().wait_stream(stream)
    with torch.no_grad(), torch.cuda.graph(graph):
        out = module(place)
    place.copy_(other)
    graph.replay()
    assert distance(out, expected[0]) < 20 * torch.finfo(dtype).eps
    captured = torch.cuda.make_graphed_callables(module, (x.clone().requires_grad_(),))
    for a, b in zip(with_gradients(captured, other), expected, strict=True):
        assert distance(a, b) < 20 * torch.finfo(dtype).eps
