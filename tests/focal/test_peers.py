"""FocalModulation compared with two independent implementations: timm's and Hugging Face transformers'."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from timm.layers import LayerNorm2d
from timm.models.focalnet import FocalModulation as TimmFocalModulation
from torch import Tensor, nn
from transformers import FocalNetConfig
from transformers.models.focalnet.modeling_focalnet import FocalNetModulation

from yolo_focal import FocalModulation

CONFIGS = st.fixed_dictionaries(
    {
        "dim": st.integers(1, 96),
        "focal_level": st.integers(1, 4),
        "focal_window": st.sampled_from([1, 3, 5, 7, 9]),
        "focal_factor": st.integers(0, 4),
        "use_postln": st.booleans(),
        "bias": st.booleans(),
        "normalize_modulator": st.booleans(),
    }
)
SHAPES = st.tuples(st.integers(0, 4), st.integers(1, 40), st.integers(1, 40))


class Timm(nn.Module):
    def __init__(self, config: dict) -> None:
        super().__init__()
        self.module = TimmFocalModulation(
            config["dim"],
            config["focal_window"],
            config["focal_level"],
            focal_factor=config["focal_factor"],
            bias=config["bias"],
            use_post_norm=config["use_postln"],
            normalize_modulator=config["normalize_modulator"],
            norm_layer=partial(LayerNorm2d, eps=1e-5),  # its default, 1e-6, is not the paper's code's
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.module(x)


class HuggingFace(nn.Module):
    def __init__(self, config: dict) -> None:
        super().__init__()
        theirs = FocalNetConfig(
            focal_levels=[config["focal_level"]],
            focal_windows=[config["focal_window"]],
            use_post_layernorm_in_modulation=config["use_postln"],
            normalize_modulator=config["normalize_modulator"],
            layer_norm_eps=1e-5,
        )
        self.module = FocalNetModulation(
            theirs, 0, config["dim"], focal_factor=config["focal_factor"], bias=config["bias"]
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.module(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def run(model: nn.Module, x: Tensor) -> tuple[Tensor, list[Tensor]]:
    """The output, and the gradients of the input and of the parameters in the order of the forward pass."""
    x = x.clone().requires_grad_()
    out = model(x)
    weights = torch.linspace(-1, 2, out.numel(), dtype=out.dtype).reshape(out.shape)
    named = dict(model.named_parameters())
    # The order in which the three implementations declare their parameters is the same but for the LayerNorm's place.
    norms = [p for n, p in named.items() if any(part in n.split(".") for part in ("ln", "norm", "layernorm"))]
    rest = [p for p in named.values() if not any(p is norm for norm in norms)]
    return out.detach(), list(torch.autograd.grad((out * weights).sum(), [x, *by_shape(rest), *norms]))


def by_shape(parameters: list[Tensor]) -> list[Tensor]:
    return sorted(parameters, key=lambda p: (p.numel(), tuple(p.flatten()[:3].tolist())))


def close(ours: Tensor, theirs: Tensor, relative: float, scale: float = 0.0) -> None:
    """`scale` is what an exact zero is measured by: behind a LayerNorm over one channel gradients are mere rounding."""
    ours, theirs = ours.flatten(), theirs.flatten()
    assert ours.shape == theirs.shape
    assert (ours - theirs).norm() <= relative * max(theirs.norm().item(), 0.1 * scale)


@pytest.mark.parametrize("peer", [Timm, HuggingFace])
@pytest.mark.parametrize(("dtype", "forward", "gradient"), [(torch.float32, 1e-5, 1e-4), (torch.float64, 1e-10, 1e-10)])
@settings(deadline=None, max_examples=40)
@given(config=CONFIGS, shape=SHAPES, seed=st.integers(0, 1000))
def test_equals_its_peers(
    peer: type[nn.Module],
    dtype: torch.dtype,
    forward: float,
    gradient: float,
    config: dict,
    shape: tuple,
    seed: int,
) -> None:
    assume(config["focal_level"] == 1 or config["focal_factor"] % 2 == 0)  # even kernels are no "same" convolution
    torch.manual_seed(seed)
    theirs = peer(config).to(dtype)
    ours = FocalModulation(**config).to(dtype)
    ours.load_state_dict(theirs.module.state_dict())
    batch, height, width = shape
    x = torch.randn(batch, config["dim"], height, width, dtype=dtype)
    our_out, our_gradients = run(ours.train(seed % 2 == 0), x)  # with the fast weight gradients, and without
    their_out, their_gradients = run(theirs, x)
    close(our_out, their_out, forward)
    scale = max(g.norm().item() for g in their_gradients)
    for a, b in zip(our_gradients, their_gradients, strict=True):
        close(a, b, gradient, scale)


def test_the_papers_names_are_taken_too() -> None:
    """The reference code's: `f` and `ln`, with the linear layers' weights in two dimensions."""
    module = FocalModulation(6, use_postln=True)
    reference = {key.replace("proj_in.", "f."): value for key, value in module.state_dict().items()}
    for name in ("f.weight", "h.weight", "proj.weight"):
        reference[name] = reference[name][:, :, 0, 0]
    twin = FocalModulation(6, use_postln=True)
    twin.load_state_dict(reference)
    assert all(torch.equal(v, twin.state_dict()[k]) for k, v in module.state_dict().items())


def test_they_are_taken_inside_a_larger_model() -> None:
    theirs = nn.Sequential(nn.Identity(), TimmFocalModulation(4, 3, 2))
    ours = nn.Sequential(nn.Identity(), FocalModulation(4, focal_window=3))
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(1, 4, 5, 5)
    torch.testing.assert_close(ours(x), theirs(x))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"h.bias": None}, r'Missing key\(s\) in state_dict: "h.bias"'),
        ({"gates.weight": torch.zeros(1)}, r'Unexpected key\(s\) in state_dict: "gates.weight"'),
        ({"norm.weight": torch.zeros(4)}, r'Unexpected key\(s\) in state_dict: "ln.weight"'),
        ({"proj.weight": torch.zeros(5, 4, 1, 1)}, r"size mismatch for proj.weight"),
    ],
)
def test_a_missing_or_foreign_key_is_named(change: dict, message: str) -> None:
    state = {**TimmFocalModulation(4, 7, 2).state_dict(), **change}
    with pytest.raises(RuntimeError, match=message):
        FocalModulation(4).load_state_dict({k: v for k, v in state.items() if v is not None})
