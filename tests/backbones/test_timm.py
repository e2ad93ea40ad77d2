"""The layers Timm and TimmMap: what they compute, copy and refuse."""

from __future__ import annotations

import copy
import io
import re
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from caches import put_in_cache
from focalnets import normalized, scrambled
from torch import nn
from ultralytics.nn.tasks import DetectionModel

from yolo_focal import ConfigError
from yolo_focal.backbones import Timm
from yolo_focal.backbones.timm import feature_maps
from yolo_focal.focal import FocalNet
from yolo_focal.focal.weights import translate

RESNET = "resnet10t"  # small, with BatchNorm and ReLU
HEAD = [[[1, 2, 3], 1, "Detect", ["nc"]]]
MAPS = [[0, 1, "TimmMap", [stride]] for stride in (8, 16, 32)]


def test_the_maps_are_those_of_timm_on_normalised_images() -> None:
    layer = Timm(3, RESNET).eval()
    theirs = timm.create_model(RESNET, features_only=True, out_indices=(1, 2, 3, 4)).eval()
    theirs.load_state_dict(layer.network.state_dict())
    images = torch.rand(2, 3, 64, 96)
    mean, std = (torch.tensor(layer.network.pretrained_cfg[key]).view(3, 1, 1) for key in ("mean", "std"))
    with torch.no_grad():
        maps, expected = layer(images), theirs((images - mean) / std)
    assert [map_.stride for map_ in feature_maps(RESNET)] == [4, 8, 16, 32]
    assert [map_.shape[1] for map_ in maps] == [map_.channels for map_ in feature_maps(RESNET)]
    for ours, their in zip(maps, expected, strict=True):
        torch.testing.assert_close(ours, their, rtol=0, atol=0)


@pytest.mark.parametrize("channels", [1, 4])
def test_images_of_other_channels(channels: int) -> None:
    layer = Timm(channels, RESNET)
    assert layer.mean.shape == (channels, 1, 1)
    assert layer(torch.rand(1, channels, 64, 64))[0].shape[2:] == (16, 16)


def test_what_is_looked_up_changes_no_weights() -> None:
    feature_maps.cache_clear()
    torch.manual_seed(0)
    first = Timm(3, RESNET).network.state_dict()
    torch.manual_seed(0)
    second = Timm(3, RESNET).network.state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_ultralytics_leaves_the_norms_as_timm_has_them() -> None:
    network = detector([-1, 1, "Timm", [RESNET]], *MAPS).model
    norms = [part for part in network[0].modules() if isinstance(part, nn.BatchNorm2d)]
    assert {(norm.eps, norm.momentum) for norm in norms} == {(1e-5, 0.1)}
    heads = [part for part in network[-1].modules() if isinstance(part, nn.BatchNorm2d)]
    assert {(norm.eps, norm.momentum) for norm in heads} == {(1e-3, 0.03)}


def test_focalnet_of_timm_has_the_maps_of_ours() -> None:
    layer = scrambled(Timm(3, "focalnet_tiny_lrf"))
    state = {re.sub(r"layers_(\d)", r"layers.\1", key): value for key, value in layer.network.state_dict().items()}
    ours = FocalNet(96, (2, 2, 6, 2), focal_level=3).eval()
    tensors = {re.sub("^(embed|stage)", r"\1s", key): value for key, value in translate(state).tensors.items()}
    ours.load_state_dict(tensors)
    images = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        for their, our in zip(layer(images), ours(normalized(images)), strict=True):
            torch.testing.assert_close(their, our, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_a_checkpoint_holds_weights_and_no_class_of_timm(dtype: torch.dtype) -> None:
    layer = Timm(3, RESNET).eval().to(dtype)
    file = io.BytesIO()
    torch.save(layer, file)
    assert b"ctimm" not in file.getvalue()
    loaded = torch.load(io.BytesIO(file.getvalue()), weights_only=True)
    assert not loaded.training
    assert loaded.network.conv1[0].weight.dtype is dtype
    images = torch.rand(1, 3, 64, 64)
    for ours, expected in zip(loaded.float()(images), layer.float()(images), strict=True):
        torch.testing.assert_close(ours, expected, rtol=0, atol=0)


def test_what_is_not_trained_is_not_after_loading() -> None:
    layer = Timm(3, RESNET)
    layer.network.conv1.requires_grad_(False)
    file = io.BytesIO()
    torch.save(layer, file)
    loaded = torch.load(io.BytesIO(file.getvalue()), weights_only=True)
    trained = [name for name, parameter in layer.named_parameters() if parameter.requires_grad]
    assert trained and [name for name, parameter in loaded.named_parameters() if parameter.requires_grad] == trained


def test_weights_of_another_release_of_timm_are_named() -> None:
    layer = Timm(3, RESNET)
    state = layer.__getstate__()
    state["weights"] = {f"stem.{name}": tensor for name, tensor in state["weights"].items()}
    with pytest.raises(ConfigError) as caught:
        Timm.__new__(Timm).__setstate__(state)
    assert str(caught.value).startswith("resnet10t: the checkpoint's weights are not those of the installed timm's ")
    assert str(caught.value).endswith("install the timm that it was trained with")


def test_the_repeats_of_a_map_stack_nothing() -> None:
    detector([-1, 1, "Timm", [RESNET]], *([0, 3, *rest] for _, _, *rest in MAPS))


def test_an_older_name_of_timm() -> None:
    assert feature_maps("tf_efficientnet_b0_ns") == feature_maps("tf_efficientnet_b0.ns_jft_in1k")


def test_a_copy_is_its_own_and_builds_nothing() -> None:
    layer = Timm(3, RESNET)
    layer.network.conv1 = nn.Conv2d(3, 24, 1)
    copied = copy.deepcopy(layer)
    assert isinstance(copied.network.conv1, nn.Conv2d)
    with torch.no_grad():
        copied.network.conv1.weight.zero_()
    assert layer.network.conv1.weight.any()


def test_weights_of_timm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = scrambled(timm.create_model(RESNET))
    put_in_cache(tmp_path, RESNET, theirs)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    network = Timm(3, RESNET, True).network
    assert all(torch.equal(tensor, theirs.state_dict()[key]) for key, tensor in network.state_dict().items())


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([[-1, 1, "Timm", []]], "row 0 (Timm): arguments []: write timm's name of a model first, such as "),
        ([[-1, 1, "Timm", [256, 5]]], "row 0 (Timm): arguments [256, 5]: write timm's name of a model first, such as "),
        (
            [[-1, 1, "Timm", ["resnet1O"]]],
            "row 0 (Timm): timm has no model 'resnet1O'; write a name of timm.list_models(), such as resnet18, ",
        ),
        (
            [[-1, 1, "Timm", ["vit_tiny_patch16_224"]]],
            "row 0 (Timm): vit_tiny_patch16_224 has maps of stride 16; write a model with 8, 16 and 32, such as ",
        ),
        (
            [[-1, 1, "Timm", ["swin_tiny_patch4_window7_224"]]],
            "row 0 (Timm): swin_tiny_patch4_window7_224 does not take images of 128x128 pixels (AssertionError: Input "
            "height (128) ",
        ),
        (
            [[-1, 1, "Timm", ["inception_v3"]]],
            "row 0 (Timm): inception_v3 makes maps of 61x61, 28x28, 13x13, 6x6, 2x2 of an image of 128x128 pixels, and "
            "not 64x64, 32x32, 16x16, 8x8, 4x4 as its strides say; write another model, such as ",
        ),
        (
            [[-1, 1, "Timm", ["mobilevitv2_050"]]],
            "row 0 (Timm): mobilevitv2_050 makes maps of 144x176, 72x88, 36x44, 18x22, 10x12 of an image of 288x352 ",
        ),
        *(
            (
                [[-1, 1, "Timm", [RESNET]], row],
                f"row 1 ({row[2]}): it reads row 0 (Timm), which returns several maps; put a row that takes one of "
                "them between, such as [0, 1, TimmMap, [32]]",
            )
            for row in (
                [-1, 1, "SPPF", [512, 5]],
                [0, 1, "C2Focal", []],
                [-1, 1, "Timm", [RESNET]],
                [[-1, 0], 1, "Concat", [1]],
            )
        ),
        ([[-1, 1, "Timm", [RESNET, "yes"]]], "row 0 (Timm): pretrained='yes': write True or False"),
        (
            [[-1, 1, "Timm", [RESNET]], [0, 1, "TimmMap", [64]]],
            "row 1 (TimmMap): arguments [64]: write the stride of one map, 4, 8, 16, 32, such as [8]",
        ),
        (
            [[-1, 1, "Timm", [RESNET]], [0, 1, "TimmMap", []]],
            "row 1 (TimmMap): arguments []: write the stride of one map, 4, 8, 16, 32, such as [8]",
        ),
        (
            [[-1, 1, "Conv", [16, 3, 2]], [0, 1, "TimmMap", [8]]],
            "row 1 (TimmMap): it does not read a Timm row; write the index of one, such as [0, 1, TimmMap, [8]]",
        ),
        (
            [[-1, 1, "Timm", ["resnet50t", True]]],
            "row 0 (Timm): resnet50t: timm has no weights of it; write ['resnet50t', False] in its row",
        ),
        (
            [[-1, 1, "Timm", [RESNET, True]]],
            "row 0 (Timm): resnet10t: timm's weights are not here and could not be downloaded: model.safetensors of "
            "timm/resnet10t.c3_in1k at huggingface.co (",
        ),
    ],
)
def test_what_is_refused(rows: list[Any], message: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ConfigError) as caught:
        detector(*rows)
    assert message in str(caught.value)


def detector(*rows: list[Any]) -> DetectionModel:
    """Build a detector of these rows, the second to the fourth of which its head reads."""
    return DetectionModel({"nc": 2, "yaml_file": "a.yaml", "backbone": [*rows], "head": HEAD}, verbose=False)
