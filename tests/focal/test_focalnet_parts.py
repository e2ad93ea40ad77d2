"""The parts of FocalNet on their own: norm, drop path, embedding, and arguments that are refused."""

from __future__ import annotations

from typing import Any

import focalnets
import pytest
import torch
from torch import nn

from yolo_focal.focal import DropPath, FocalBlock, FocalEmbed, FocalNorm, FocalStage, LayerScale


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
