"""The maps of a FocalModulation: the paper's terms, also in the arrays that are written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from networks import tiny
from torch import Tensor, nn

import yolo_focal
from yolo_focal import FocalModulation, images
from yolo_focal.visualization import maps


def by_hand(module: FocalModulation, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Compute the modulator, the gates and the contexts as in the paper's section 3.2, position by position."""
    weights = {name: value.double() for name, value in module.state_dict().items()}
    rows = x[0].double().flatten(1).T  # a row for each position
    linear = lambda name, rows: F.linear(rows, weights[f"{name}.weight"][:, :, 0, 0], weights.get(f"{name}.bias"))  # noqa: E731
    dim, levels = module.dim, module.focal_level
    _, z, gates = linear("proj_in", rows).split([dim, dim, levels + 1], dim=1)
    z = z.T.reshape(dim, *x.shape[2:])
    contexts = []
    for level in range(levels):
        kernel = weights[f"focal_layers.{level}.0.weight"]
        z = F.gelu(F.conv2d(z[None], kernel, padding=kernel.shape[-1] // 2, groups=dim))[0]
        contexts.append(z)
    contexts.append(F.gelu(z.mean((1, 2)))[:, None, None].expand_as(z))
    total = sum(gates[:, level] * context.flatten(1) for level, context in enumerate(contexts))
    if module.normalize_modulator:
        total = total / (levels + 1)
    modulator = linear("h", total.T).T.reshape(z.shape)
    return modulator, gates.T.reshape(levels + 1, *x.shape[2:]), torch.stack(contexts)


@pytest.mark.parametrize("side", [8, 40])  # smaller and larger than the receptive field
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"focal_level": 3, "focal_window": 3},
        {"focal_level": 1, "bias": False},
        {"focal_window": 5, "focal_factor": 4, "normalize_modulator": True, "use_postln": True, "proj_drop": 0.5},
    ],
)
def test_the_maps_are_the_papers_terms(options: dict[str, Any], side: int) -> None:
    torch.manual_seed(0)
    module = FocalModulation(32, **options)
    network = nn.Sequential(nn.Conv2d(3, 32, 4, 4), module)
    image = torch.rand(1, 3, 4 * side, 4 * side)
    with torch.no_grad():
        expected = by_hand(module, network[0](image))
    actual = maps.compute(network, module, image)
    for value, expected_value in zip(actual, expected, strict=False):
        assert value.dtype == torch.float32 and value.shape == expected_value.shape
        torch.testing.assert_close(value.double(), expected_value, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(actual.modulator_norm, expected[0].square().sum(0).sqrt().float())
    torch.testing.assert_close(actual.context_norms, expected[2].square().sum(1).sqrt().float())
    window, factor = options.get("focal_window", 7), options.get("focal_factor", 2)
    fields = [1 + sum(window + factor * j - 1 for j in range(k + 1)) for k in range(module.focal_level)]
    assert actual.receptive_fields == fields


def test_a_model_in_bfloat16_is_drawn_in_float32() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 32, 4, 4), FocalModulation(32)).bfloat16()
    image = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        expected = by_hand(network[1], network[0](image.bfloat16()))
    for value, expected_value in zip(maps.compute(network, network[1], image), expected, strict=False):
        torch.testing.assert_close(value.double(), expected_value, atol=1e-5, rtol=1e-5)
    assert network[1].h.weight.dtype == torch.bfloat16


def test_the_arrays_are_as_documented(photo: Path) -> None:
    model = tiny([-1, 1, "FocalModulation", [{"focal_level": 3, "focal_window": 3}]])
    folder = yolo_focal.visualize(model, photo)
    assert sorted(file.name for file in folder.iterdir()) == ["photo.npz", "photo.png"]
    arrays = dict(np.load(folder / "photo.npz"))
    assert {key: (value.dtype.kind, value.shape) for key, value in arrays.items()} == {
        "modulator_norm": ("f", (16, 16)),
        "gates": ("f", (4, 16, 16)),
        "context_norms": ("f", (4, 16, 16)),
        "inside": ("i", (4,)),
        "imgsz": ("i", ()),
    }
    assert arrays["inside"].tolist() == [16, 48, 0, 64] and arrays["imgsz"] == 64
    (image,) = images.letterboxed([photo], 64)
    layers = model.model.model.eval()
    with torch.no_grad():
        modulator, gates, contexts = by_hand(layers[2], layers[:2](image))
    np.testing.assert_allclose(arrays["modulator_norm"], np.linalg.norm(modulator, axis=0), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(arrays["gates"], gates, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(arrays["context_norms"], np.linalg.norm(contexts, axis=1), rtol=1e-5, atol=1e-5)
