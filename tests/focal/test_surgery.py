"""A FocalModulation whose parts were changed in any way computes with the parts as they are now.

The fast weight gradients on a CPU and the float32 values under float16 change what torch functions compute. They are
held against the equations with every part called.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from called_parts import DIM, by_calls
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook
from torch.nn.utils import fuse_conv_bn_eval, parametrize, prune
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from yolo_focal import FocalModulation

TAIL = ("h", "ln", "proj")
PARTS = ("proj_in", "focal_layers.0.0", "focal_layers.1.0", "focal_layers.0", "focal_layers.1.1", *TAIL)


def put(module: nn.Module, name: str, part: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(module.get_submodule(parent), child, part)


class LoRA(nn.Module):
    """A convolution with a trained addition of low rank."""

    def __init__(self, base: nn.Conv2d) -> None:
        super().__init__()
        self.base = base
        self.down = nn.Conv2d(base.in_channels, 2, 1, bias=False)
        self.up = nn.Conv2d(2, base.out_channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + self.up(self.down(x))


class Doubled(nn.Parameter):
    """A parameter that counts twice in every function that it is given to."""

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        with torch._C.DisableTorchFunctionSubclass():
            double = func in (F.conv2d, torch.conv2d, F.layer_norm)
            args = [2 * a.as_subclass(Tensor) if double and type(a) is cls else a for a in args]
            return func(*args, **(kwargs or {}))


class Squared(nn.Conv2d):
    """A convolution with weights of its own making, in the same attributes."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).square()


class Scaled(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return 1.5 * weight


def replace(module: FocalModulation, name: str, kind: int) -> None:
    replacements: list[Callable[[], nn.Module]] = [
        lambda: nn.Conv2d(DIM, DIM, 3, padding=1),
        lambda: nn.Conv2d(DIM, DIM, 1, groups=DIM),
        lambda: Squared(DIM, DIM, 1),
        lambda: nn.Sequential(nn.Conv2d(DIM, DIM, 1), nn.ReLU()),
        lambda: nn.Conv2d(DIM, DIM, 1, stride=2) if name == "proj" else nn.Identity(),
    ]
    if name in {"h", "proj"}:
        put(module, name, replacements[kind % 5]())
    elif name == "focal_layers.1.1":
        put(module, name, [nn.SiLU(), nn.GELU(approximate="tanh"), nn.Identity()][kind % 3])
    elif name.startswith("focal_layers"):
        convolution = module.focal_layers[0][0]
        others = [
            nn.Sequential(convolution, nn.BatchNorm2d(DIM), nn.GELU()),
            nn.Sequential(convolution, nn.Conv2d(DIM, DIM, 1), nn.GELU()),
            nn.Sequential(nn.Conv2d(DIM, DIM, 3, padding=2, dilation=2, groups=DIM, bias=False), nn.GELU()),
        ]
        module.focal_layers[0] = others[kind % 3]


def fuse(module: FocalModulation, *_: Any) -> None:
    """Put a BatchNorm behind a level's convolution and fuse it, which gives the convolution a bias."""
    norm = nn.BatchNorm2d(DIM).eval()
    nn.init.normal_(norm.bias)
    nn.init.uniform_(norm.running_var, 0.5, 2)
    module.focal_layers[0][0] = fuse_conv_bn_eval(module.focal_layers[0][0].eval(), norm)


def hook(module: FocalModulation, name: str, kind: int) -> None:
    part = module.get_submodule(name)
    if kind % 2:
        part.register_forward_hook(lambda *args: 0.5 * args[-1])
    else:
        part.register_forward_pre_hook(lambda *args: (0.5 * args[-1][0],))


def own_forward(module: FocalModulation, name: str, *_: Any) -> None:
    """Give an instance a `forward` of its own, as Accelerate does."""
    part = module.get_submodule(name)
    part.forward = functools.partial(lambda call, x: 0.5 * call(x), part.forward)


def lora(module: FocalModulation, name: str, *_: Any) -> None:
    if name in {"proj_in", "h", "proj"} and isinstance(module.get_submodule(name), nn.Conv2d):
        put(module, name, LoRA(module.get_submodule(name)))


def on_weight(change: Callable[[nn.Module], Any]) -> Callable[..., None]:
    def surgery(module: FocalModulation, name: str, *_: Any) -> None:
        part = module.get_submodule(name)
        if type(part) is nn.Conv2d and isinstance(part._parameters.get("weight"), nn.Parameter):
            change(part)

    return surgery


def subclass(part: nn.Module) -> None:
    part.weight = Doubled(part.weight.data)


def computed(part: nn.Module) -> None:
    """Put in place of the parameter a tensor that was computed from it."""
    weight = part._parameters.pop("weight")
    part.source = weight
    part.weight = torch.tanh(weight)


def tie(module: FocalModulation, *_: Any) -> None:
    if module.h.__dict__.keys() == module.proj.__dict__.keys() and module.h.weight.shape == module.proj.weight.shape:
        module.h.weight = module.proj.weight


def share(module: FocalModulation, *_: Any) -> None:
    module.focal_layers[1] = module.focal_layers[0]


def to_float32(module: FocalModulation, name: str, *_: Any) -> None:
    """Keep a part that is computed in float32 anyway in float32, in a module of float16."""
    if name in TAIL:
        module.get_submodule(name).stays_float32 = True


SURGERIES: dict[str, Callable[..., None]] = {
    "replace": replace,
    "fuse": fuse,
    "hook": hook,
    "own forward": own_forward,
    "LoRA": lora,
    "prune": on_weight(lambda part: prune.l1_unstructured(part, "weight", 0.5)),
    "prune for good": on_weight(lambda part: prune.remove(prune.l1_unstructured(part, "weight", 0.5), "weight")),
    "weight_norm": on_weight(nn.utils.weight_norm),
    "parametrize": on_weight(lambda part: parametrize.register_parametrization(part, "weight", Scaled())),
    "subclass": on_weight(subclass),
    "computed": on_weight(computed),
    "tie": tie,
    "share": share,
    "to float32": to_float32,
}


PLAIN = {"use_postln": False, "bias": True, "normalize_modulator": False}


@contextlib.contextmanager
def observer(name: str) -> Iterator[None]:
    """What acts on every module or function of the process."""
    with contextlib.ExitStack() as stack:
        if name == "global hook":

            def change(*args: Any) -> Any:
                part, _, out = args
                return 1.5 * out if type(part) is nn.Conv2d else None

            stack.callback(register_module_forward_hook(change).remove)
        if name == "mode":
            stack.enter_context(Halved())
        if name == "dispatch mode":
            stack.enter_context(HalvedConvolutions())
        yield


class Halved(TorchFunctionMode):
    """Halves the result of each GELU, as a library that replaces functions might."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        return 0.5 * out if func is F.gelu else out


class HalvedConvolutions(TorchDispatchMode):
    """Halves the result of each convolution, below autograd."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        return 0.5 * out if func is torch.ops.aten.convolution.default else out


def convert(module: FocalModulation, dtype: torch.dtype) -> None:
    """Convert a module, except for parts that are to stay in float32."""
    computed = [part for part in module.modules() if "source" in part.__dict__.get("_parameters", {})]
    module.to(dtype)
    for part in module.modules():
        if "stays_float32" in vars(part):
            part.float()
    for part in computed:
        part.weight = torch.tanh(part.source)


def gradients(out: Tensor, tensors: list[Tensor], create_graph: bool = False) -> tuple[Tensor | None, ...]:
    return torch.autograd.grad(out.float().square().sum(), tensors, create_graph=create_graph, allow_unused=True)


@pytest.mark.filterwarnings("ignore::FutureWarning")
@settings(deadline=None, max_examples=300)
@given(
    st.lists(
        st.tuples(st.sampled_from(sorted(SURGERIES)), st.sampled_from(PARTS), st.integers(0, 11)),
        min_size=1,
        max_size=3,
    ),
    st.sampled_from([torch.float32, torch.float64, torch.float16]),
    st.fixed_dictionaries({"use_postln": st.booleans(), "bias": st.booleans(), "normalize_modulator": st.booleans()}),
    st.booleans(),
    st.sampled_from(["", "", "", "global hook", "mode", "dispatch mode"]),
)
@example([("computed", "h", 0), ("LoRA", "h", 0)], torch.float16, PLAIN, False, "")
def test_any_surgery(
    surgeries: list[tuple], dtype: torch.dtype, config: dict, training: bool, observed_by: str
) -> None:
    torch.manual_seed(0)
    module = FocalModulation(DIM, focal_window=5, focal_factor=0, **config)
    for surgery, name, kind in surgeries:
        if name != "ln" or module.ln is not None:
            with contextlib.suppress(Exception):  # an earlier surgery stands in its way
                SURGERIES[surgery](module, name, kind)
    # A dispatch mode sees the operations below autograd, where a weight gradient in training is a convolution.
    module.train(training and observed_by != "dispatch mode")
    convert(module, dtype)
    x = torch.randn(2, DIM, 7, 5).to(dtype).requires_grad_()
    tensors = [x, *(p for p in module.parameters() if p.requires_grad)]
    with observer(observed_by):
        try:
            expected = by_calls(module, x)
        except RuntimeError:  # the changed parts do not fit each other: then they do not here either
            with pytest.raises(RuntimeError):
                module(x)
            return
        out = module(x)
        theirs, ours = gradients(expected, tensors, True), gradients(out, tensors, True)
        tolerance = {torch.float64: 1e-9, torch.float32: 2e-4, torch.float16: 2e-2}[dtype]
        close(out, expected, tolerance)
        for mine, other in zip(ours, theirs, strict=True):
            close(mine, other, tolerance)
        if dtype == torch.float64:
            both = [
                torch.autograd.grad(
                    sum(g.square().sum() for g in first if g is not None), tensors, retain_graph=True, allow_unused=True
                )
                for first in (ours, theirs)
            ]
            for mine, other in zip(*both, strict=True):
                close(mine, other, tolerance)


def close(ours: Tensor | None, theirs: Tensor | None, tolerance: float) -> None:
    if ours is None or theirs is None:
        assert ours is theirs
        return
    assert ours.dtype == theirs.dtype
    assert (ours - theirs).double().norm() <= tolerance * (theirs.double().norm() + 1e-3)


def test_a_patched_class_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    module, x = FocalModulation(DIM, focal_window=3), torch.randn(2, DIM, 7, 5)
    before = module(x)
    forward = nn.Conv2d.forward
    monkeypatch.setattr(nn.Conv2d, "forward", lambda self, x: 2 * forward(self, x))
    close(module(x), by_calls(module, x), 1e-5)
    assert not torch.allclose(module(x), before)
