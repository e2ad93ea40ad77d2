"""FocalNet compared with timm's and Hugging Face transformers', and its parts on their own."""

from __future__ import annotations

import copy
from typing import Any

import focalnets
import pytest
import timm
import torch
from focalnets import VARIANTS, normalized
from torch import Tensor, nn

from yolo_focal.focal import DropPath, FocalBlock, FocalEmbed, FocalNet, FocalNorm, FocalStage, LayerScale, weights

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


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("way", ["_by_channel", "_fused"])
def test_the_norm_is_a_layer_norm_over_channels(dtype: torch.dtype, way: str) -> None:
    norm = focalnets.scrambled(FocalNorm(7))
    x = 300 * torch.randn(2, 7, 5, 3)  # its square exceeds float16's range
    expected = nn.functional.layer_norm(
        x.to(dtype).double().permute(0, 2, 3, 1), (7,), norm.weight.double(), norm.bias.double()
    )
    out = getattr(norm.to(dtype), way)(x.to(dtype))
    assert out.dtype == dtype
    last = torch.channels_last if way == "_fused" else torch.contiguous_format
    assert out.is_contiguous(memory_format=last)
    tolerance = {torch.float64: 1e-6, torch.float32: 1e-5, torch.float16: 5e-3, torch.bfloat16: 5e-2}[dtype]
    torch.testing.assert_close(out.double(), expected.permute(0, 3, 1, 2), rtol=tolerance, atol=tolerance)


def test_drop_path_keeps_the_expectation_image_by_image() -> None:
    torch.manual_seed(0)
    drop, x = DropPath(0.25), torch.ones(4000, 2, 1, 1)
    out = drop(x)
    assert out.unique().tolist() == pytest.approx([0.0, 4 / 3])
    assert torch.equal(out[:, 0], out[:, 1])
    assert abs(out.mean() - 1) < 0.03
    assert drop.eval()(x) is x


@pytest.mark.parametrize(
    ("rates", "depth", "expected"),
    [(0.1, 2, [0.1, 0.1]), ([0.0, 0.3], 4, [0.0, 0.1, 0.2, 0.3]), ([0.2, 0.3], 1, [0.2])],
)
def test_drop_path_grows_over_the_blocks(rates: Any, depth: int, expected: list[float]) -> None:
    stage = FocalStage(4, depth, drop_path=rates)
    assert [block.drop_path.probability for block in stage.blocks] == pytest.approx(expected)


def test_an_overlapping_embedding_is_padded_with_the_mean() -> None:
    """What is padded with zeros behind the normalization is the mean before it."""
    embed = FocalEmbed(3, 4, 4, True)
    embed.mean.copy_(torch.tensor([0.5, 0.4, 0.3]))
    image = embed.mean[None, :, None, None].expand(1, 3, 8, 8)
    assert embed(image).std((2, 3)).max() < 1e-6


@pytest.mark.parametrize("padding", [2, 3])
def test_an_overlapping_embedding_has_the_size_of_patches(padding: int) -> None:
    assert FocalEmbed(3, 8, 4, True, padding)(torch.zeros(1, 3, 64, 96)).shape == (1, 8, 16, 24)


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: FocalEmbed(3, 8, 3), ValueError, "stride=3: write 4 for the first embedding, 2 for the others"),
        (lambda: FocalEmbed(3, 0, 4), ValueError, "c2=0: write an integer of at least 1"),
        (lambda: FocalEmbed(3, 8, 4, 1), TypeError, "use_conv_embed=1: write True or False"),
        (
            lambda: FocalEmbed(3, 8, 4, padding=2),
            ValueError,
            "padding=2: patches that do not overlap have none; write 0",
        ),
        (lambda: FocalEmbed(3, 8, 4, True, 4), ValueError, "padding=4: the kernel is 7; write at most 3"),
        (lambda: FocalStage(8, 0), ValueError, "depth=0: write an integer of at least 1"),
        (lambda: FocalStage(8, {"n": 2}), TypeError, "depth={'n': 2}: write an integer of at least 1"),
        (
            lambda: FocalStage(8, 2, drop_path=[0.1]),
            ValueError,
            "drop_path=[0.1]: write one probability, or the first block's and the last's",
        ),
        (
            lambda: FocalStage(8, 2, drop_path=1),
            ValueError,
            "drop_path=1: write a number from 0 up to but not including 1, such as 0.1",
        ),
        (
            lambda: FocalStage(8, 1, layerscale_value=0),
            ValueError,
            "layerscale_value=0: write a number above 0, such as 0.0001",
        ),
        (
            lambda: FocalStage(8, 1, mlp_ratio="4"),
            TypeError,
            "mlp_ratio='4': write a number above 0, such as 4.0",
        ),
        (lambda: FocalBlock(8, use_postln=0), TypeError, "use_postln=0: write True or False"),
        (lambda: FocalNorm(0), ValueError, "dim=0: write an integer of at least 1"),
    ],
)
def test_wrong_arguments_are_named(build: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        build()
    assert str(caught.value) == message


def test_ultralytics_optimizer_spares_norms_biases_and_layer_scale_from_weight_decay() -> None:
    from ultralytics.engine.trainer import BaseTrainer

    stage = nn.Sequential(FocalEmbed(3, 8, 4), FocalStage(8, 1, layerscale_value=1e-4, use_postln_in_modulation=True))
    optimizer = BaseTrainer.build_optimizer(None, stage, "AdamW", 1e-4, 0.9, 0.05)
    decayed = {id(p) for group in optimizer.param_groups if group["weight_decay"] for p in group["params"]}
    for name, parameter in stage.named_parameters():
        assert (id(parameter) in decayed) == (parameter.dim() > 1), name
    assert isinstance(stage[1].blocks[0].ls1, LayerScale)
