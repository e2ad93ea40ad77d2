"""The CPU implementation: equal to the plain operations, gradients included, and not used where they are observed."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from yolo_focal import FocalModulation
from yolo_focal.focal import cpu, equations

CONFIGS = st.fixed_dictionaries(
    {
        "dim": st.integers(1, 40),
        "focal_level": st.integers(1, 3),
        "focal_window": st.sampled_from([1, 3, 7]),
        "use_postln": st.booleans(),
        "bias": st.booleans(),
        "normalize_modulator": st.booleans(),
    }
)


@pytest.fixture(autouse=True)
def small_inputs_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "_MIN_ELEMENTS", 1)
    monkeypatch.setattr(cpu, "_MIN_KERNEL_IN_CHANNELS_LAST", 1)


def test_small_inputs_and_empty_ones_are_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    module = FocalModulation(32)
    assert not is_fast(module(torch.randn(0, 32, 32, 32)))
    monkeypatch.undo()
    assert is_fast(module(torch.randn(1, 32, 32, 32)))
    assert not is_fast(module(torch.randn(1, 32, 32, 31)))


def by_the_equations(module: FocalModulation, x: Tensor) -> Tensor:
    parts = module.proj_in, module.focal_layers, module.h, module.ln, module.proj
    return equations.modulate(x, *parts, normalize_modulator=module.normalize_modulator)


def is_fast(out: Tensor) -> bool:
    """Return whether an output was computed by the package's autograd function."""
    seen, todo = set(), [out.grad_fn]
    while todo:
        node = todo.pop()
        if node is not None and node not in seen:
            seen.add(node)
            todo += [parent for parent, _ in node.next_functions]
    return any("FocalModulationFunction" in type(node).__name__ for node in seen)


@settings(deadline=None, max_examples=80)
@given(
    CONFIGS,
    st.tuples(st.integers(1, 5), st.integers(1, 13), st.integers(1, 13)),
    st.sampled_from([torch.contiguous_format, torch.channels_last]),
    st.sampled_from([1, 2**10, 2**12, 2**20]),
)
def test_equals_the_equations(config: dict, shape: tuple, memory_format: torch.memory_format, elements: int) -> None:
    """For chunks of one image, of several images, and of some channels of one image."""
    module = FocalModulation(**config).double()
    batch, height, width = shape
    x = torch.randn(batch, config["dim"], height, width, dtype=torch.float64)
    x = x.to(memory_format=memory_format).requires_grad_()
    tensors = [x, *module.parameters()]
    expected = by_the_equations(module, x)
    gradient = torch.randn_like(expected)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (
            ("_IMAGE_CHUNK", elements),
            ("_FORWARD_CHANNEL_CHUNK", elements),
            ("_BACKWARD_CHANNEL_CHUNK", elements // 4),
        ):
            patch.setattr(cpu, name, value)
        out = module(x)
        assert is_fast(out)
        gradients = torch.autograd.grad(out, tensors, gradient)
        with torch.no_grad():
            torch.testing.assert_close(module(x), expected, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(out, expected, rtol=1e-10, atol=1e-12)
    for ours, theirs in zip(gradients, torch.autograd.grad(expected, tensors, gradient)):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("config", [{}, {"use_postln": True, "bias": False, "normalize_modulator": True}])
def test_first_and_second_derivatives(config: dict) -> None:
    module = FocalModulation(2, focal_window=3, **config).double()
    names = [name for name, _ in module.named_parameters()]

    def function(x: Tensor, *parameters: Tensor) -> Tensor:
        return torch.func.functional_call(module, dict(zip(names, parameters)), (x,))

    inputs = (torch.randn(2, 2, 4, 3, dtype=torch.float64), *module.parameters())
    inputs = tuple(x.detach().clone().requires_grad_() for x in inputs)
    assert is_fast(function(*inputs))
    assert torch.autograd.gradcheck(function, inputs)
    assert torch.autograd.gradgradcheck(function, inputs)


@pytest.mark.parametrize("frozen", ["proj_in", "focal_layers", "h", "ln", "proj", "the input", "all"])
def test_what_is_frozen_gets_no_gradient_and_the_rest_its_own(frozen: str) -> None:
    module = FocalModulation(6, use_postln=True).double()
    x = torch.randn(2, 6, 5, 4, dtype=torch.float64, requires_grad=frozen != "the input")
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(frozen != "all" and not name.startswith(f"{frozen}."))
    out = module(x)
    assert is_fast(out)
    tensors = [t for t in (x, *module.parameters()) if t.requires_grad]
    out.square().sum().backward()
    expected = torch.autograd.grad(by_the_equations(module, x).square().sum(), tensors)
    for tensor, gradient in zip(tensors, expected):
        torch.testing.assert_close(tensor.grad, gradient, rtol=1e-9, atol=1e-11)
    assert all(t.grad is None for t in (x, *module.parameters()) if not t.requires_grad)


def test_it_can_be_differentiated_again_with_its_graph_kept() -> None:
    module, x = FocalModulation(4), torch.randn(3, 4, 5, 5, requires_grad=True)
    loss = module(x).square().sum()
    first, again = (torch.autograd.grad(loss, [x, *module.parameters()], retain_graph=True) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, again))


@pytest.mark.parametrize(
    "x", [torch.randn(6, 4, 8, 8)[::2], torch.randn(2, 9, 6, 5)[:, 2:6], torch.randn(2, 4, 5, 6).mT]
)
def test_inputs_of_any_layout(x: Tensor) -> None:
    module = FocalModulation(4)
    x = x.detach().requires_grad_()
    out = module(x)
    torch.testing.assert_close(out, by_the_equations(module, x))
    torch.testing.assert_close(*(torch.autograd.grad(y.sum(), x)[0] for y in (out, by_the_equations(module, x))))


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


def dilated() -> nn.Conv2d:
    return nn.Conv2d(4, 4, 7, padding=6, dilation=2, groups=4, bias=False)


@pytest.mark.parametrize(
    ("name", "replacement"),
    [
        ("focal_layers.0.0", dilated()),
        ("focal_layers.0.0", nn.Conv2d(4, 4, 7, padding=3, groups=4, bias=False, padding_mode="reflect")),
        ("focal_layers.1.1", nn.SiLU()),
        ("focal_layers.1.1", nn.GELU(approximate="tanh")),
        (
            "focal_layers.0",
            nn.Sequential(nn.Conv2d(4, 4, 7, padding=3, groups=4, bias=False), nn.Identity(), nn.GELU()),
        ),
        ("focal_layers.0.0", nn.Conv2d(4, 4, 7, padding=3, groups=4)),
        ("focal_layers.0.0", nn.Conv2d(4, 4, 7, padding=3, groups=2, bias=False)),
        ("proj", nn.Sequential(nn.Conv2d(4, 4, 1), nn.ReLU())),
        ("proj", nn.Conv2d(4, 4, 1, stride=2)),
        ("h", nn.Conv2d(4, 4, 3, padding=1)),
        ("h", nn.Conv2d(4, 4, 1, groups=2)),
        ("h", nn.ConvTranspose2d(4, 4, 1)),
    ],
)
def test_a_part_that_was_replaced_is_called(name: str, replacement: nn.Module) -> None:
    module, x = FocalModulation(4), torch.randn(2, 4, 9, 8)
    parent, _, child = name.rpartition(".")
    setattr(module.get_submodule(parent), child, replacement)
    assert not is_fast(module(x))
    torch.testing.assert_close(module(x), by_the_equations(module, x), rtol=0, atol=0)


def test_under_autocast_it_is_plain() -> None:
    module, x = FocalModulation(4), torch.randn(1, 4, 5, 5)
    with torch.autocast("cpu", torch.bfloat16):
        out = module(x)
    out.float().sum().backward()
    assert not is_fast(out)
    assert module.focal_layers[0][0].weight.grad.isfinite().all()


def test_the_backward_pass_may_be_called_inside_autocast() -> None:
    module, x = FocalModulation(4), torch.randn(2, 4, 5, 5, requires_grad=True)
    tensors = [x, *module.parameters()]
    expected = torch.autograd.grad(module(x).sum(), tensors)
    out = module(x)
    with torch.autocast("cpu", torch.bfloat16):
        inside = torch.autograd.grad(out.sum(), tensors)
    assert is_fast(out)
    assert all(torch.equal(a, b) for a, b in zip(inside, expected))


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
    torch.compiler.reset()  # after other sizes torch would compile for any size, which inductor cannot for one image
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
