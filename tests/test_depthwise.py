"""The fast weight gradient: equal to PyTorch's, and out of everybody's way."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from yolo_focal import FocalModulation
from yolo_focal.depthwise import contextualize


def focal_layer(channels: int, kernel: int) -> nn.Sequential:
    conv = nn.Conv2d(channels, channels, kernel, padding=kernel // 2, groups=channels, bias=False)
    return nn.Sequential(conv, nn.GELU())


def is_fast(out: Tensor) -> bool:
    """Whether a gradient passes through the package's own function."""
    seen, todo = set(), [out.grad_fn]
    while todo:
        node = todo.pop()
        if node is not None and node not in seen:
            seen.add(node)
            todo += [parent for parent, _ in node.next_functions]
    return any("_Depthwise" in type(node).__name__ for node in seen)


@settings(deadline=None, max_examples=60)
@given(
    st.integers(1, 4),
    st.integers(1, 12),
    st.integers(1, 13),
    st.integers(1, 13),
    st.sampled_from([1, 3, 7, 9]),
    st.booleans(),
)
def test_gradients_equal_pytorchs(b: int, c: int, h: int, w: int, kernel: int, channels_last: bool) -> None:
    layer = focal_layer(c, kernel).double()
    x = torch.randn(b, c, h, w, dtype=torch.float64)
    if channels_last:
        x = x.to(memory_format=torch.channels_last)
    x.requires_grad_()
    fast, plain = contextualize(layer, x), layer(x)
    assert is_fast(fast)
    torch.testing.assert_close(fast, plain, rtol=1e-12, atol=1e-12)
    gradient = torch.randn_like(plain)
    for ours, theirs in zip(*(torch.autograd.grad(out, (x, layer[0].weight), gradient) for out in (fast, plain))):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


def test_first_and_second_derivatives() -> None:
    layer = focal_layer(2, 3).double()

    def function(x: Tensor, weight: Tensor) -> Tensor:
        layer[0].weight.data = weight.data
        return torch.func.functional_call(_Wrapped(layer), {"layer.0.weight": weight}, (x,))

    inputs = (torch.randn(2, 2, 4, 3, dtype=torch.float64), torch.randn(2, 1, 3, 3, dtype=torch.float64))
    inputs = tuple(x.requires_grad_() for x in inputs)
    assert is_fast(function(*inputs))
    assert torch.autograd.gradcheck(function, inputs)
    assert torch.autograd.gradgradcheck(function, inputs)


class _Wrapped(nn.Module):
    def __init__(self, layer: nn.Sequential) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return contextualize(self.layer, x)


def test_a_frozen_kernel_or_no_gradient_is_plain() -> None:
    layer, x = focal_layer(4, 3), torch.randn(1, 4, 5, 5, requires_grad=True)
    with torch.no_grad():
        assert contextualize(layer, x).grad_fn is None
    layer.requires_grad_(False)
    assert not is_fast(contextualize(layer, x))


@pytest.mark.parametrize("hooked", ["layer", "convolution"])
@pytest.mark.parametrize("kind", ["register_forward_hook", "register_forward_pre_hook", "register_full_backward_hook"])
def test_hooks_see_the_call(hooked: str, kind: str) -> None:
    module, calls = FocalModulation(4), []
    layer = module.focal_layers[0]
    getattr(layer if hooked == "layer" else layer[0], kind)(lambda *_: calls.append(1))
    x = torch.randn(1, 4, 5, 5, requires_grad=True)
    module(x).sum().backward()
    assert calls == [1]


def test_under_autocast_it_is_plain() -> None:
    module, x = FocalModulation(4), torch.randn(1, 4, 5, 5)
    with torch.autocast("cpu", torch.bfloat16):
        out = module(x)
    out.float().sum().backward()
    assert not is_fast(out)
    assert module.focal_layers[0][0].weight.grad.isfinite().all()


def test_tracers_see_plain_operations() -> None:
    module = FocalModulation(4)
    x = torch.randn(1, 4, 5, 5)
    traced = torch.jit.trace(module, x)
    assert "PythonOp" not in str(traced.inlined_graph)
    torch.testing.assert_close(traced(x), module(x))
    exported = torch.export.export(module, (x,))
    assert {"conv2d", "gelu"} <= {str(n.target).split(".")[1] for n in exported.graph.nodes if "aten" in str(n.target)}
    torch.testing.assert_close(exported.module()(x), module(x))


def test_what_training_code_does_with_modules() -> None:
    torch.manual_seed(0)
    module, x = FocalModulation(4), torch.randn(2, 4, 6, 7, requires_grad=True)
    parameters = dict(module.named_parameters())
    expected = torch.autograd.grad(module(x).square().sum(), list(parameters.values()))

    again = checkpoint(module, x, use_reentrant=False)
    by_checkpoint = torch.autograd.grad(again.square().sum(), list(parameters.values()))

    def loss(parameters: dict) -> Tensor:
        return torch.func.functional_call(module, parameters, (x,)).square().sum()

    by_func = torch.func.grad(loss)(parameters).values()
    torch.use_deterministic_algorithms(True)
    try:
        deterministic = torch.autograd.grad(module(x).square().sum(), list(parameters.values()))
    finally:
        torch.use_deterministic_algorithms(False)
    for a, b, c, d in zip(expected, by_checkpoint, by_func, deterministic):
        torch.testing.assert_close(a, b)
        torch.testing.assert_close(a, c)
        torch.testing.assert_close(a, d, rtol=0, atol=0)


def test_per_sample_gradients_by_vmap() -> None:
    module, x = FocalModulation(3), torch.randn(4, 3, 5, 5)
    parameters = dict(module.named_parameters())

    def loss(parameters: dict, image: Tensor) -> Tensor:
        return torch.func.functional_call(module, parameters, (image[None],)).square().sum()

    together = torch.func.vmap(torch.func.grad(loss), (None, 0))(parameters, x)
    for i, image in enumerate(x):
        alone = torch.autograd.grad(loss(parameters, image), list(parameters.values()))
        for name, gradient in zip(parameters, alone):
            torch.testing.assert_close(together[name][i], gradient, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_compiles_without_a_graph_break() -> None:
    module, x = FocalModulation(4), torch.randn(1, 4, 5, 5)
    compiled = torch.compile(module, fullgraph=True)
    torch.testing.assert_close(compiled(x), module(x))


def test_channels_last_in_is_channels_last_out() -> None:
    x = torch.randn(2, 8, 6, 5).to(memory_format=torch.channels_last)
    module = FocalModulation(8)
    for model in (module, FocalModulation(8, use_postln=True)):
        assert model(x).is_contiguous(memory_format=torch.channels_last)
    x.requires_grad_()
    module(x).sum().backward()
    assert x.grad.is_contiguous(memory_format=torch.channels_last)


def test_the_meta_device_gives_the_shape() -> None:
    with torch.device("meta"):
        assert FocalModulation(8)(torch.empty(2, 8, 6, 5)).shape == (2, 8, 6, 5)
