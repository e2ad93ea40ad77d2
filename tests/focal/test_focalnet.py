"""FocalNet compared with timm's and Hugging Face transformers': features, gradients, and weights taken over."""

from __future__ import annotations

import copy
from typing import Any

import focalnets
import pytest
import timm
import torch
from focalnets import VARIANTS, normalized
from torch import Tensor

from yolo_focal.focal import FocalNet, weights

PEERS = {
    "timm": (focalnets.timm, focalnets.timm_features),
    "transformers": (focalnets.transformers, focalnets.transformers_features),
}
SRF = {**VARIANTS["tiny_srf"], "channels": 8}
FL4 = {**VARIANTS["large_fl4"], "channels": 8, "depths": (2, 2, 2, 2)}


def loaded(net: FocalNet, state: dict[str, Tensor]) -> list[str]:
    return weights.load(weights.translate(state), list(net.embeds), list(net.stages))


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-4)])
@pytest.mark.parametrize("peer", PEERS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_stage_has_the_features_of_its_peers(
    variant: str, peer: str, dtype: torch.dtype, tolerance: float
) -> None:
    """With 8 channels and 3 blocks in the third stage; the slow test has a variant's own."""
    options = {**VARIANTS[variant], "channels": 8, "depths": (2, 2, 3, 2)}
    build, features = PEERS[peer]
    theirs = build(**options).to(dtype)
    ours = FocalNet(**options).to(dtype).eval()
    assert loaded(ours, theirs.state_dict()) == []
    # transformers fills up images whose size is no multiple of its patches'
    for size in [(70, 83), (32, 64)] if peer == "timm" else [(32, 64)]:
        image = torch.rand(2, 3, *size, dtype=dtype)
        with torch.no_grad():
            for our, their in zip(ours(image), features(theirs, normalized(image)), strict=True):
                assert our.shape == their.shape
                assert (our - their).abs().max() <= tolerance * max(1, their.abs().max())


@pytest.mark.slow
@pytest.mark.parametrize("variant", [name for name in VARIANTS if "huge" not in name])
def test_the_published_variants_have_the_features_of_timms(variant: str) -> None:
    """At their own width; the huge ones, of 0.7 billion weights, are left out for their memory."""
    theirs = focalnets.scrambled(timm.create_model(f"focalnet_{variant}"))
    with torch.no_grad():
        for parameter in theirs.parameters():
            if parameter.dim() > 1:  # wide layers with the weights of narrow ones grow without bound
                parameter.normal_(0, 0.02)
    ours = FocalNet(**VARIANTS[variant]).eval()
    loaded(ours, theirs.state_dict())
    image = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        for our, their in zip(ours(image), focalnets.timm_features(theirs, normalized(image)), strict=True):
            assert (our - their).norm() <= 1e-4 * their.norm()


@pytest.mark.parametrize("options", [SRF, FL4], ids=["before", "behind"])
def test_gradients_are_those_of_timms(options: dict[str, Any]) -> None:
    theirs, ours = focalnets.timm(**options).double(), FocalNet(**options).double().eval()
    loaded(ours, theirs.state_dict())
    image = torch.rand(2, 3, 64, 64, dtype=torch.float64)
    gradients = []
    for model, x, features in (
        (ours, image.clone(), FocalNet.forward),
        (theirs, image.clone(), focalnets.timm_features),
    ):
        x.requires_grad_()
        sum(f.square().mean() for f in features(model, x if model is ours else normalized(x))).backward()
        gradients.append(x.grad)
    torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("options", [SRF, FL4, {**FL4, "use_postln_in_modulation": True}], ids=["srf", "fl4", "huge"])
def test_the_papers_names_are_read(options: dict[str, Any]) -> None:
    theirs, ours = focalnets.timm(**options), FocalNet(**options).eval()
    state = focalnets.papers_names(theirs.state_dict())
    assert "patch_embed.proj.weight" in state
    assert "layers.0.downsample.proj.weight" in state
    loaded(ours, state)
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        for our, their in zip(ours(image), focalnets.timm_features(theirs, normalized(image)), strict=True):
            torch.testing.assert_close(our, their, rtol=1e-4, atol=1e-4)


def test_kernels_filled_up_with_zeros_give_the_same_features() -> None:
    theirs, ours = focalnets.timm(**SRF).double(), FocalNet(**{**SRF, "focal_window": 9}).double().eval()
    lines = loaded(ours, theirs.state_dict())
    assert lines == [f"stage {i}: kernels of 3, 5 filled up with zeros to 9, 11" for i in (1, 2, 3, 4)]
    image = torch.rand(1, 3, 96, 64, dtype=torch.float64)
    with torch.no_grad():
        for our, their in zip(ours(image), focalnets.timm_features(theirs, normalized(image)), strict=True):
            torch.testing.assert_close(our, their, rtol=1e-10, atol=1e-10)


def test_gates_of_added_levels_are_zeros() -> None:
    """Without the global context, which then is that of the added level, the features are the same."""
    theirs = focalnets.timm(**SRF).double()
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            if ".modulation.f." in name:
                parameter[-1] = 0
    ours = FocalNet(**{**SRF, "focal_level": 4}).double().eval()
    lines = loaded(ours, theirs.state_dict())
    assert lines[0] == (
        "stage 1: 2 more focal levels, with gates of zeros and kernels that pass on "
        "(the global context is now that of the last)"
    )
    image = torch.rand(1, 3, 64, 64, dtype=torch.float64)
    with torch.no_grad():
        for our, their in zip(ours(image), focalnets.timm_features(theirs, normalized(image)), strict=True):
            torch.testing.assert_close(our, their, rtol=1e-10, atol=1e-10)


def without(key: str) -> Any:
    return lambda state: {k: v for k, v in state.items() if k != key}


@pytest.mark.parametrize(
    ("model", "theirs", "change", "message"),
    [
        (SRF, SRF, dict, None),
        (SRF, {**SRF, "channels": 16}, dict, "channels: they have 16 32 64 128, and the model 8 16 32 64"),
        (
            SRF,
            {**SRF, "depths": (2, 2, 18, 2)},
            dict,
            "blocks of the stages: they have 2 2 18 2, and the model 2 2 6 2",
        ),
        (
            FL4,
            {**FL4, "use_conv_embed": False},
            dict,
            "kernels of the embeddings: they have 4 2 2 2, and the model 7 3 3 3",
        ),
        (
            FL4,
            {**FL4, "layerscale_value": None},
            dict,
            "LayerScale: they have no no no no, and the model yes yes yes yes",
        ),
        (
            FL4,
            {**FL4, "use_postln_in_modulation": True},
            dict,
            "norm inside the modulation: they have yes yes yes yes, and the model no no no no",
        ),
        (
            FL4,
            {**FL4, "use_postln": False},
            dict,
            "norms: theirs are before them, and the model's behind FocalModulation and the MLP",
        ),
        (
            SRF,
            {**SRF, "focal_window": 5},
            dict,
            "windows of stage 1: they have kernels of 5, 7, and the model smaller or fewer ones, 3, 5",
        ),
        (
            SRF,
            {**SRF, "focal_level": 3},
            dict,
            "windows of stage 1: they have kernels of 3, 5, 7, and the model smaller or fewer ones, 3, 5",
        ),
        (SRF, SRF, without("layers.0.blocks.1.mlp.fc2.bias"), "they lack stage.0.blocks.1.mlp.fc2.bias"),
        (
            SRF,
            SRF,
            lambda state: {**state, "layers.0.blocks.0.mlp.fc3.bias": torch.zeros(1)},
            "they have blocks.0.mlp.fc3.bias in a FocalStage, and the model has not",
        ),
        (
            SRF,
            SRF,
            lambda _: {"conv1.weight": torch.zeros(1), "bn1.weight": torch.zeros(1)},
            "its keys (conv1.weight, bn1.weight, ...) are not those of a FocalNet of the paper's code, of timm or of "
            "transformers",
        ),
    ],
)
def test_weights_of_another_variant_are_refused_in_words(
    model: dict[str, Any], theirs: dict[str, Any], change: Any, message: str | None
) -> None:
    net = FocalNet(**model)
    before = copy.deepcopy(net.state_dict())
    state = change(focalnets.timm(**theirs).state_dict())
    if message is None:
        loaded(net, state)
        return
    with pytest.raises(ValueError) as caught:
        loaded(net, state)
    assert str(caught.value) == message
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
