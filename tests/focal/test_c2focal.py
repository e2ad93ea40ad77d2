"""C2Focal: that it starts as the identity, what it computes, what is trained and when, and what is refused."""

from __future__ import annotations

import copy
import io
import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from networks import varied
from torch import Tensor, nn
from ultralytics import YOLO
from ultralytics.engine.trainer import BaseTrainer

from yolo_focal import C2Focal
from yolo_focal.focal import C2FocalBlock

VARIANTS: list[dict[str, Any]] = [
    {},
    {"n": 2},
    {"e": 0.25, "focal_level": 1, "focal_window": 3},
    {"focal_level": 4, "focal_window": 9, "norm": "layer"},
    {"focal_level": 3, "focal_factor": 4},
]


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_new_one_is_the_identity(variant: dict[str, Any]) -> None:
    module = C2Focal(16, **variant)
    for mode in (True, False):
        x = torch.randn(2, 16, 9, 7) * 100
        assert torch.equal(module.train(mode)(x), x)


@pytest.mark.parametrize("variant", VARIANTS)
def test_it_computes_what_its_docstring_says(variant: dict[str, Any]) -> None:
    torch.manual_seed(0)
    module: Any = varied(C2Focal(16, **variant)).double().eval()
    x = torch.randn(2, 16, 9, 7, dtype=torch.float64)

    def norm(bn: nn.BatchNorm2d, x: Tensor) -> Tensor:
        mean, var, weight, bias = (t[:, None, None] for t in (bn.running_mean, bn.running_var, bn.weight, bn.bias))
        return (x - mean) / (var + bn.eps).sqrt() * weight + bias

    def conv(sequence: Any, x: Tensor) -> Tensor:
        return norm(sequence.bn, torch.einsum("oc,bchw->bohw", sequence.conv.weight[:, :, 0, 0], x))

    y = F.silu(conv(module.split, x))
    a, b = y[:, : y.shape[1] // 2], y[:, y.shape[1] // 2 :]
    for block in module.blocks:
        if variant.get("norm") == "layer":
            centred = b - b.mean(1, keepdim=True)
            deviation = (centred.square().mean(1, keepdim=True) + block.norm.eps).sqrt()
            normed = centred / deviation * block.norm.weight[:, None, None] + block.norm.bias[:, None, None]
        else:
            normed = norm(block.norm, b)
        b = b + norm(block.focal.bn, block.focal.modulation(normed))
        b = b + conv(block.ffn[1], F.silu(conv(block.ffn[0], b)))
    assert len(module.blocks) == variant.get("n", 1)
    expected = x + conv(module.join, torch.cat([a, b], 1))
    torch.testing.assert_close(module(x), expected, rtol=0, atol=1e-12)
    assert (module(x) - x).abs().max() > 0.1


def test_all_is_trained_from_the_second_step_on() -> None:
    torch.manual_seed(0)
    module: Any = C2Focal(16)
    x, y = torch.randn(4, 16, 9, 9), torch.randn(4, 16, 9, 9)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    with_gradient = []
    for _ in range(2):
        optimizer.zero_grad()
        (module(x) - y).square().mean().backward()
        # A bias before a BatchNorm has no effect: what is left of its gradient is rounding.
        with_gradient.append({name for name, p in module.named_parameters() if p.grad.abs().max() > 0})
        optimizer.step()
    assert with_gradient[0] == {"join.bn.weight", "join.bn.bias"}
    assert with_gradient[1] == {name for name, _ in module.named_parameters()}


@pytest.mark.parametrize("layer_scale", [0.01, 0.1, 1, -1.0])
def test_the_factor_counts_in_standard_deviations(layer_scale: float) -> None:
    torch.manual_seed(0)
    module = C2Focal(16, layer_scale=layer_scale)
    x = torch.randn(8, 16, 20, 20)
    assert (module(x) - x).std().item() == pytest.approx(abs(layer_scale), rel=0.02)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"dim": 0}, ValueError, "dim=0: write an integer of at least 1"),
        ({"n": 0}, ValueError, "n=0: write an integer of at least 1"),
        ({"n": 1.5}, TypeError, "n=1.5: write an integer of at least 1"),
        ({"e": 0}, ValueError, "e=0: write a number above 0 and up to 1, such as 0.5"),
        ({"e": 1024}, ValueError, "e=1024: write a number above 0 and up to 1, such as 0.5"),
        ({"e": True}, TypeError, "e=True: write a number above 0 and up to 1, such as 0.5"),
        ({"e": 0.01}, ValueError, "e=0.01: of 16 channels that is none; write at least 0.063"),
        ({"focal_level": 0}, ValueError, "focal_level=0: write an integer of at least 1"),
        ({"focal_window": 4}, ValueError, "focal_window=4: a kernel must be odd; write 3 or 5"),
        ({"norm": "group"}, ValueError, 'norm=\'group\': write "batch" or "layer"'),
        ({"norm": None}, ValueError, 'norm=None: write "batch" or "layer"'),
        ({"layer_scale": "0"}, TypeError, "layer_scale='0': write a number, such as 0.01"),
        ({"layer_scale": float("nan")}, ValueError, "layer_scale=nan: write a number, such as 0.01"),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        C2Focal(**{"dim": 16, **arguments})
    assert str(caught.value) == message


def test_its_path_and_names_are_for_good() -> None:
    module = varied(C2Focal(8))
    assert f"{C2Focal.__module__}.{C2Focal.__name__}" == "yolo_focal.focal.C2Focal"
    assert f"{C2FocalBlock.__module__}.{C2FocalBlock.__name__}" == "yolo_focal.focal.C2FocalBlock"
    assert b"c2focal" not in pickle.dumps(module)
    names = {name.rpartition(".")[0] for name in module.state_dict()}
    assert names == {
        *("split.conv", "split.bn", "blocks.0.norm", "blocks.0.focal.bn"),
        *(f"blocks.0.focal.modulation.{part}" for part in ("proj_in", "h", "proj")),
        *(f"blocks.0.focal.modulation.focal_layers.{level}.0" for level in (0, 1)),
        *(f"blocks.0.ffn.{k}.{part}" for k in (0, 1) for part in ("conv", "bn")),
        *("join.conv", "join.bn"),
    }
    x = torch.randn(1, 8, 5, 5)
    buffer = io.BytesIO()
    torch.save(module, buffer)
    buffer.seek(0)
    loaded = torch.load(buffer, weights_only=False)
    for other in (copy.deepcopy(module), pickle.loads(pickle.dumps(module)), loaded):
        assert torch.equal(other.eval()(x), module.eval()(x))


@pytest.mark.parametrize(
    ("name", "iterations"),
    [("SGD", 1e5), ("AdamW", 1e5), ("Adam", 1e5), ("RMSProp", 1e5), ("auto", 100), ("auto", 1e5)],
)
def test_ultralytics_does_not_decay_its_factors(name: str, iterations: float) -> None:
    network = YOLO("yolov8n-c2focal.yaml").model
    trainer: Any = SimpleNamespace(args=SimpleNamespace(lr0=0.01, warmup_bias_lr=0.1), data={"nc": 80})
    optimizer = BaseTrainer.build_optimizer(trainer, network, name, 0.01, 0.9, 5e-4, iterations)
    layer = network.model[10]
    factors = [layer.join.bn.weight, *(bn.weight for b in layer.blocks for bn in (b.focal.bn, b.ffn[1].bn))]
    places = [group for group in optimizer.param_groups for p in group["params"] if any(p is g for g in factors)]
    assert len(places) == len(factors) == 3
    rates = {group["lr"] for group in optimizer.param_groups}
    for group in places:
        assert group["weight_decay"] == 0
        assert group.get("param_group", "bn") == "bn"  # not with the biases, whose learning rate starts high
        assert group["lr"] == min(rates)
        assert not group.get("use_muon", False)
    decayed = {id(p) for group in optimizer.param_groups if group["weight_decay"] for p in group["params"]}
    assert id(layer.split.conv.weight) in decayed


def test_onnxruntime_folds_the_norms_behind_convolutions(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    module = varied(C2Focal(16)).eval()
    x = torch.randn(1, 16, 9, 7)
    torch.onnx.export(module, (x,), str(tmp_path / "c2focal.onnx"), dynamo=False)
    options = runtime.SessionOptions()
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    session = runtime.InferenceSession(tmp_path / "c2focal.onnx", options, providers=["CPUExecutionProvider"])
    kinds = [node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node]
    assert kinds.count("BatchNormalization") == 1  # the one before FocalModulation
    (out,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    torch.testing.assert_close(torch.from_numpy(out), module(x).detach(), rtol=1e-4, atol=1e-5)
