"""The fast weight gradient of depthwise convolutions: equal to PyTorch's own, and used where it pays alone.

A module in evaluation mode has PyTorch's own gradients; in training mode it has the fast ones.
"""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from yolo_focal import FocalModulation, collection
from yolo_focal.focal.depthwise import fast_gradients


def depthwise(channels: int, kernel: int, dilation: int = 1) -> nn.Conv2d:
    padding = dilation * (kernel // 2)
    return nn.Conv2d(channels, channels, kernel, padding=padding, dilation=dilation, groups=channels, bias=False)


def nodes(out: Tensor) -> list[str]:
    """The names of the autograd graph's nodes."""
    seen, todo = set(), [out.grad_fn]
    while todo:
        node = todo.pop()
        if node is not None and node not in seen:
            seen.add(node)
            todo += [parent for parent, _ in node.next_functions]
    return [type(node).__name__ for node in seen]


def fast(out: Tensor) -> int:
    """How many convolutions have the fast gradient."""
    return nodes(out).count("_DepthwiseBackward")


@settings(deadline=None, max_examples=80)
@given(
    st.sampled_from([(3, 2), (3, 3), (5, 1), (5, 2), (7, 1), (9, 1), (13, 1)]),
    st.tuples(st.integers(1, 5), st.integers(1, 20), st.integers(1, 17), st.integers(1, 17)),
    st.sampled_from([torch.contiguous_format, torch.channels_last]),
    st.booleans(),
)
def test_its_gradients_are_those_of_float64(
    kernel: tuple, shape: tuple, memory_format: torch.memory_format, strided: bool
) -> None:
    convolution = depthwise(shape[1], *kernel)
    x = torch.randn(shape).to(memory_format=memory_format)
    x = (x.repeat(1, 2, 1, 1)[:, : shape[1]] if strided else x).requires_grad_()
    with fast_gradients(training=True):
        out = convolution(x)
    assert fast(out) == 1
    gradient = torch.randn_like(out)
    ours = torch.autograd.grad(out, [x, convolution.weight], gradient)
    expected = convolution.double()(x.double())
    theirs = torch.autograd.grad(expected, [x, convolution.weight], gradient.double())
    for mine, other in ((out.detach(), expected.detach()), *zip(ours, theirs, strict=True)):
        assert mine.dtype == torch.float32
        assert (mine - other).norm() <= 1e-6 * other.norm() + 1e-6


@pytest.mark.parametrize("kernel", [(5, 1), (3, 2)])
def test_every_derivative(kernel: tuple) -> None:
    """First and second, batched, in forward mode."""
    convolution = depthwise(3, *kernel).double()

    def function(x: Tensor, weight: Tensor) -> Tensor:
        convolution.weight = nn.Parameter(convolution.weight.detach())
        return torch.func.functional_call(convolution, {"weight": weight}, (x,))

    x = torch.randn(2, 3, 5, 4, dtype=torch.float64, requires_grad=True)
    weight = nn.Parameter(convolution.weight.detach().clone())
    with fast_gradients(training=True):
        assert fast(function(x, weight)) == 1
        for check in (torch.autograd.gradcheck, torch.autograd.gradgradcheck):
            assert check(function, (x, weight), check_batched_grad=True)
        assert torch.autograd.gradcheck(function, (x, weight), check_forward_ad=True, check_batched_forward_grad=True)


def of_another_class() -> nn.Conv2d:
    convolution = depthwise(4, 5)
    convolution.weight = type("Marked", (nn.Parameter,), {})(convolution.weight.data)
    return convolution


def frozen() -> nn.Conv2d:
    return depthwise(4, 5).requires_grad_(False)


@pytest.mark.parametrize(
    ("convolution", "shape"),
    [
        (depthwise(4, 1), (2, 4, 8, 8)),
        (depthwise(4, 3), (2, 4, 8, 8)),
        (depthwise(4, 15), (2, 4, 8, 8)),
        (depthwise(4, 5).half(), (2, 4, 8, 8)),
        (depthwise(4, 5), (4, 8, 8)),
        (nn.Conv2d(4, 4, 5, padding=2, groups=4), (2, 4, 8, 8)),
        (nn.Conv2d(4, 4, 5, padding=2, groups=2, bias=False), (2, 4, 8, 8)),
        (nn.Conv2d(4, 8, 5, padding=2, groups=4, bias=False), (2, 4, 8, 8)),
        (nn.Conv2d(4, 4, 5, padding=1, groups=4, bias=False), (2, 4, 8, 8)),
        (nn.Conv2d(4, 4, 5, padding=2, stride=2, groups=4, bias=False), (2, 4, 8, 8)),
        (nn.Conv2d(4, 4, (5, 7), padding=(2, 3), groups=4, bias=False), (2, 4, 8, 8)),
        (nn.Conv2d(4, 4, 5, padding=2, padding_mode="reflect", groups=4, bias=False), (2, 4, 8, 8)),
        (nn.Conv2d(4, 4, 5, padding="same", groups=4, bias=False), (2, 4, 8, 8)),
        (nn.Conv2d(4, 4, 4, padding=2, groups=4, bias=False), (2, 4, 8, 8)),
        (nn.Conv2d(4, 4, 5, padding=(4, 2), dilation=(2, 1), groups=4, bias=False), (2, 4, 8, 8)),
        (of_another_class(), (2, 4, 8, 8)),
        (frozen(), (2, 4, 8, 8)),
    ],
)
def test_every_other_convolution_is_plain(convolution: nn.Conv2d, shape: tuple) -> None:
    x = torch.randn(shape, dtype=convolution.weight.dtype, requires_grad=True)
    expected = convolution(x)
    with fast_gradients(training=True):
        out = convolution(x)
    assert fast(out) == 0
    torch.testing.assert_close(out, expected, rtol=0, atol=0)


def test_the_modules_use_it_in_training_and_not_in_evaluation() -> None:
    cases = [(FocalModulation(8), 2), (FocalModulation(8, focal_window=3), 1), (collection.MSFN(8), 2)]
    for module, convolutions in cases:
        x = torch.randn(2, 8, 9, 7, requires_grad=True)
        assert fast(module(x)) == convolutions
        assert fast(module.eval()(x)) == 0


def both(module: nn.Module, x: Tensor, tensors: list[Tensor]) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """The gradients in training mode, and in evaluation mode."""
    out = module.train()(x)
    assert fast(out)
    ours = torch.autograd.grad(out.square().sum(), tensors, retain_graph=True)
    return ours, torch.autograd.grad(module.eval()(x).square().sum(), tensors)


@pytest.mark.parametrize("frozen", ["proj_in", "focal_layers.0", "h", "ln", "proj", "the input", "nothing"])
def test_what_is_frozen_gets_no_gradient_and_the_rest_its_own(frozen: str) -> None:
    module = FocalModulation(6, use_postln=True).double()
    x = torch.randn(2, 6, 5, 4, dtype=torch.float64, requires_grad=frozen != "the input")
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(not name.startswith(f"{frozen}."))
    tensors = [t for t in (x, *module.parameters()) if t.requires_grad]
    torch.testing.assert_close(*both(module, x, tensors), rtol=1e-9, atol=1e-11)
    module.train()(x).sum().backward()
    assert all((t.grad is not None) == t.requires_grad for t in (x, *module.parameters()))


def test_where_nothing_needs_a_gradient_there_is_none() -> None:
    module = FocalModulation(6).requires_grad_(False)
    assert module(torch.randn(2, 6, 5, 4)).grad_fn is None
    with torch.no_grad():
        assert FocalModulation(6)(torch.randn(2, 6, 5, 4)).grad_fn is None


def test_it_can_be_differentiated_again_with_its_graph_kept() -> None:
    module, x = FocalModulation(4), torch.randn(3, 4, 5, 5, requires_grad=True)
    loss = module(x).square().sum()
    first, again = (torch.autograd.grad(loss, [x, *module.parameters()], retain_graph=True) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


@pytest.mark.parametrize(
    "x", [torch.randn(6, 4, 8, 8)[::2], torch.randn(2, 9, 6, 5)[:, 2:6], torch.randn(2, 4, 5, 6).mT]
)
def test_inputs_of_any_layout(x: Tensor) -> None:
    module, x = FocalModulation(4), x.detach().requires_grad_()
    torch.testing.assert_close(*both(module, x, [x, *module.parameters()]), rtol=1e-4, atol=1e-5)


def test_an_empty_batch() -> None:
    assert FocalModulation(8)(torch.randn(0, 8, 6, 5)).shape == (0, 8, 6, 5)


@pytest.mark.parametrize(
    "hooked", ["proj_in", "focal_layers.0", "focal_layers.0.0", "focal_layers.1.1", "h", "ln", "proj"]
)
@pytest.mark.parametrize("kind", ["register_forward_hook", "register_forward_pre_hook", "register_full_backward_hook"])
def test_hooks_see_the_call(hooked: str, kind: str) -> None:
    module, calls = FocalModulation(4, use_postln=True), []
    getattr(module.get_submodule(hooked), kind)(lambda *_: calls.append(1))
    x = torch.randn(1, 4, 5, 5, requires_grad=True)
    module(x).sum().backward()
    assert calls == [1]


def test_under_autocast_it_is_plain() -> None:
    module, x = FocalModulation(4), torch.randn(1, 4, 5, 5)
    with torch.autocast("cpu", torch.bfloat16):
        out = module(x)
    out.float().sum().backward()
    assert not fast(out)
    assert module.focal_layers[0][0].weight.grad.isfinite().all()


def test_the_backward_pass_may_be_called_inside_autocast() -> None:
    module, x = FocalModulation(4), torch.randn(2, 4, 5, 5, requires_grad=True)
    kernels = [layer[0].weight for layer in module.focal_layers]
    out = module(x)
    assert fast(out)
    expected = torch.autograd.grad(out.sum(), kernels, retain_graph=True)
    with torch.autocast("cpu", torch.bfloat16):
        inside = torch.autograd.grad(out.sum(), kernels)
    assert all(torch.equal(a, b) for a, b in zip(inside, expected, strict=True))


@pytest.mark.filterwarnings("ignore::FutureWarning")
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
    out = module(x)
    assert fast(out)
    expected = torch.autograd.grad(out.square().sum(), list(parameters.values()))

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
    for a, b, c, d in zip(expected, by_checkpoint, by_func, deterministic, strict=True):
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
        for name, gradient in zip(parameters, alone, strict=True):
            torch.testing.assert_close(together[name][i], gradient, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_compiles_without_a_graph_break() -> None:
    torch.compiler.reset()  # after other sizes torch would compile for any size, which inductor cannot for one image
    module, x = FocalModulation(4), torch.randn(1, 4, 5, 5)
    compiled = torch.compile(module, fullgraph=True)
    torch.testing.assert_close(compiled(x), module(x))


def test_a_part_may_be_compiled() -> None:
    module, x = FocalModulation(4), torch.randn(2, 4, 5, 5, requires_grad=True)
    kernels = [layer[0].weight for layer in module.focal_layers]
    expected = torch.autograd.grad(module(x).sum(), kernels)
    module.focal_layers[0].compile(backend="eager", fullgraph=True)
    torch.testing.assert_close(torch.autograd.grad(module(x).sum(), kernels), expected)


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
