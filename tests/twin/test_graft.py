"""A network with FocalModulation grafted in: one layer is replaced, all else stays, and what cannot be is refused."""

from __future__ import annotations

import pytest
import torch
from networks import network

from yolo_focal import ConfigError, FocalModulation
from yolo_focal.twin.graft import graft, pass_through


@pytest.mark.parametrize(
    ("name", "index"),
    [
        ("yolov8n.yaml", 9),
        ("yolov8n-worldv2.yaml", 9),
        ("yolov8n-rtdetr.yaml", 9),
        ("yolo11n-obb.yaml", 9),
        ("yolo26n-seg.yaml", 9),
        ("yolov8n-pose-p6.yaml", 11),
    ],
)
def test_only_the_layer_is_replaced(name: str, index: int) -> None:
    original = network(name)
    before = {key: value.clone() for key, value in original.state_dict().items()}
    twin = graft(original, name)
    layer = twin.model.model[index]
    assert list(twin.layers) == [index] and twin.layers[index] is layer and type(layer) is FocalModulation
    old = original.model[index]
    assert (layer.i, layer.f, layer.type) == (old.i, old.f, "yolo_focal.focal.FocalModulation")
    args = [*original.yaml["backbone"], *original.yaml["head"]][index][3]
    assert twin.changes == [f"row {index}: SPPF, {args} -> FocalModulation, []"]
    unchanged = {k: v for k, v in twin.model.state_dict().items() if not k.startswith(f"model.{index}.")}
    assert unchanged.keys() == {k for k in before if not k.startswith(f"model.{index}.")}
    assert all(torch.equal(value, before[key]) for key, value in unchanged.items())
    assert original.state_dict().keys() == before.keys() and type(old).__name__ == "SPPF"
    rebuilt = type(original)(twin.model.yaml, verbose=False)  # as a training does
    assert {k: v.shape for k, v in rebuilt.state_dict().items()} == {
        k: v.shape for k, v in twin.model.state_dict().items()
    }


def test_a_classifiers_twin_is_the_classifier_until_it_is_trained() -> None:
    original = network("yolov8n-cls.yaml")
    twin = graft(original, "yolov8n-cls.yaml")
    assert twin.layers == {} and twin.changes == ["row 9: FocalModulation, [] before Classify, as there is no SPPF"]
    assert [layer.i for layer in twin.model.model] == list(range(11))
    x = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(twin.model(x)[0], original(x)[0])
    twin.model.train()(x).square().sum().backward()
    gradients = {name: p.grad.abs().max() for name, p in twin.model.model[9].named_parameters()}
    assert gradients.pop("focal_layers.0.0.weight") == 0  # nothing reads the context yet: h is zero
    assert gradients.pop("focal_layers.1.0.weight") == 0
    assert all(gradients.values())


@pytest.mark.parametrize(
    ("name", "replace", "message"),
    [
        (
            "yolov8n.yaml",
            "SPP",
            "x.pt: no row names SPP; write replace= with one of C2f, Concat, Conv, Detect, SPPF, nn.Upsample",
        ),
        (
            "yolov8n.yaml",
            "Conv",
            "x.pt, row 0: Conv makes 16x128x128 of 3x256x256, and FocalModulation keeps the shape of one map; "
            "write replace= with a module that does",
        ),
        (
            "yolov8n.yaml",
            "Concat",
            "x.pt, row 11: Concat makes 384x16x16 of 2 maps, and FocalModulation keeps the shape of one map; "
            "write replace= with a module that does",
        ),
    ],
)
def test_what_cannot_be_replaced_is_refused(name: str, replace: str, message: str) -> None:
    original = network(name)
    with pytest.raises(ConfigError) as caught:
        graft(original, "x.pt", replace)
    assert str(caught.value) == message
    assert not any(layer._forward_hooks for layer in original.model)


def test_pass_through_is_exact_on_any_input() -> None:
    x = torch.randn(2, 6, 5, 7) * 1000
    for module in FocalModulation(6), FocalModulation(6, focal_level=3, focal_window=3):
        with torch.no_grad():
            assert torch.equal(pass_through(module)(x), x)
