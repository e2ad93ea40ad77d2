"""Weights whose layers have other indices: a model with inserted rows takes over all that it has layers for."""

from __future__ import annotations

import copy
import itertools
import logging
from pathlib import Path

import pytest
import torch
import ultralytics
from hypothesis import given
from hypothesis import strategies as st
from support import COMMAND, YOLO, python, run
from torch import nn
from ultralytics.utils import LOGGER

import yolo_focal
from yolo_focal.hook import alignment
from yolo_focal.hook.modules import registry
from yolo_focal.twin.graft import graft


class Kept(logging.Handler):
    """Keeps what Ultralytics logs."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def loaded(config: str, weights: nn.Module) -> tuple[nn.Module, list[str]]:
    """Return a model that was built and then given weights, and what was logged meanwhile."""
    model = ultralytics.YOLO(config, verbose=False).model
    kept = Kept()
    LOGGER.addHandler(kept)
    try:
        model.load(weights)
    finally:
        LOGGER.removeHandler(kept)
    return model, kept.lines


@pytest.fixture(scope="module")
def weights() -> nn.Module:
    """A stock network with weights of its own."""
    network = ultralytics.YOLO("yolov8n.yaml", verbose=False).model
    generator = torch.Generator().manual_seed(0)
    for tensor in network.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(torch.rand(tensor.shape, generator=generator))
    return network


@pytest.mark.parametrize(
    ("name", "moves", "new"),
    [
        ("C2Focal", "layers 10 to 22 of the weights go to layers 11 to 23", [10]),
        ("EMA", "layer 22 of the weights goes to layer 25", [22, 23, 24]),
        ("MSDA", "layer 22 of the weights goes to layer 23", [22]),
        ("CAFM", "layer 22 of the weights goes to layer 23", [22]),
        ("MSFN", "layer 22 of the weights goes to layer 23", [22]),
    ],
)
def test_a_packaged_model_with_inserted_rows_takes_over_every_tensor(
    name: str, moves: str, new: list[int], weights: nn.Module
) -> None:
    model, lines = loaded(f"yolov8n-{name.lower()}.yaml", weights)
    kept = [layer for index, layer in enumerate(model.model) if index not in new]
    for layer, ours in zip(weights.model, kept, strict=True):
        state = ours.state_dict()
        assert all(torch.equal(tensor, state[key]) for key, tensor in layer.state_dict().items())
    fresh = ", ".join(f"{index} ({name})" for index in new)
    assert f"yolo-focal: {moves}; starting fresh: {fresh}" in lines
    counts = f"{len(weights.state_dict())}/{len(model.state_dict())}"
    assert lines[-1] == f"Transferred {counts} items from pretrained weights"


def test_it_is_what_derive_writes(weights: nn.Module) -> None:
    model, _ = loaded("yolov8n-c2focal.yaml", weights)
    twin = graft(copy.deepcopy(weights).eval(), "yolov8n.pt", "SPPF", "SPPF", "C2Focal").model
    kept = {name: tensor for name, tensor in twin.state_dict().items() if not name.startswith("model.10.")}
    assert kept and all(torch.equal(tensor, model.state_dict()[name]) for name, tensor in kept.items())


def test_a_replaced_row_and_stock_models_load_as_ever(weights: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    model, lines = loaded("yolov8n-focal.yaml", weights)
    assert not any(line.startswith("yolo-focal: layers") for line in lines)
    assert torch.equal(model.state_dict()["model.21.cv1.conv.weight"], weights.state_dict()["model.21.cv1.conv.weight"])

    def fail(*_: object) -> None:
        raise AssertionError("a stock model was looked at")

    monkeypatch.setattr(alignment, "align", fail)
    _, lines = loaded("yolov8n.yaml", weights)
    assert lines[-1] == "Transferred 355/355 items from pretrained weights"
    loaded("yolov8n-p2.yaml", weights)


@pytest.mark.parametrize(
    ("weights_of", "config"),
    [
        ("yolov8s.yaml", "yolov8n-c2focal.yaml"),  # another scale
        ("yolo11n.yaml", "yolov8n-focal.yaml"),  # another family
        ("yolo11n.yaml", "yolo11n-focalnet.yaml"),  # the neck stands where it stood
        ("yolov8n.yaml", "yolov8n-odconv.yaml"),  # replaced rows
    ],
)
def test_weights_that_no_move_makes_fit(weights_of: str, config: str) -> None:
    networks = (ultralytics.YOLO(file, verbose=False).model for file in (weights_of, config))
    assert alignment.align(*networks) is None


def test_weights_of_another_kind_of_network() -> None:
    _, lines = loaded("yolov8n-focal.yaml", nn.Sequential(nn.Conv2d(3, 4, 3)))
    assert lines[-1].startswith("Transferred 0/")


@pytest.mark.parametrize("nc", [3, 300])
def test_other_classes(nc: int, weights: nn.Module) -> None:
    """The head is found, whatever part of it depends on the number of classes."""
    model = ultralytics.YOLO("yolov8n-c2focal.yaml", verbose=False).model
    with_classes = type(model)({**model.yaml, "nc": nc}, verbose=False)
    found = alignment.align(weights, with_classes)
    assert found is not None and found.moves[0].startswith("layers 10 to 22")


OWN = """
import yolo_focal
from torch import nn

@yolo_focal.register
class Residual(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.conv = nn.Conv2d(dim, dim, 3, padding=1)

    def forward(self, x):
        return x + self.conv(x)
"""


def test_a_row_that_a_tutorial_inserts_into_a_model_of_the_users(checkpoint: Path, tmp_path: Path) -> None:
    """By the stock command and with the user's own module, in the middle of the backbone."""
    (tmp_path / "my_blocks.py").write_text(OWN)
    given = ("YOLO_FOCAL_MODULES", "my_blocks.py")
    env = {given[0]: given[1]}
    run(
        COMMAND, "derive", "model=yolov8n-focal.yaml", "after=4", "with=Residual", "save=mine.yaml", cwd=tmp_path, **env
    )
    out = run(
        *(YOLO, "train", "model=mine.yaml", f"pretrained={checkpoint}", "data=shapes.yaml", "imgsz=32", "epochs=1"),
        *("fraction=0.05", "batch=8", "workers=0", "plots=False", "val=False"),
        cwd=tmp_path,
        **env,
    ).stdout
    (line,) = (line for line in out.splitlines() if line.startswith("yolo-focal: layers"))
    assert line == "yolo-focal: layers 5 to 22 of the weights go to layers 6 to 23; starting fresh: 5 (Residual)"
    taken = [line.split()[1] for line in out.splitlines() if line.startswith("Transferred")]
    numbers = [int(number) for number in taken[-1].split("/")]
    assert numbers[1] - numbers[0] == 2  # the weight and the bias of Residual


def test_a_network_that_was_deactivated_loads_as_ultralytics_does(tmp_path: Path) -> None:
    code = """
import yolo_focal
from ultralytics.nn.tasks import BaseModel
before = BaseModel.load
yolo_focal.deactivate()
assert BaseModel.load is not before and BaseModel.load.__module__ == "ultralytics.nn.tasks"
yolo_focal.activate()
assert BaseModel.load.__wrapped__.__module__ == "ultralytics.nn.tasks"
print("done")
"""
    assert python(code, tmp_path).strip().endswith("done")


# As a property, of networks of convolutions


def network(channels: list[int]) -> nn.Module:
    holder = nn.Module()
    holder.model = nn.Sequential(*(nn.Conv2d(c1, c2, 1) for c1, c2 in itertools.pairwise(channels)))
    return holder


WIDTHS = st.lists(st.integers(1, 3), min_size=2, max_size=7)


def kernels(layers: nn.Module) -> list[torch.Size | None]:
    """Return the shape of each convolution's kernel; None in the place of a layer that is left out."""
    return [layer.weight.shape if isinstance(layer, nn.Conv2d) else None for layer in layers.children()]


@given(WIDTHS, WIDTHS)
def test_more_fits_than_without_moving_and_the_order_stays(sources: list[int], targets: list[int]) -> None:
    weights, model = network(sources), network(targets)
    found = alignment.align(weights, model)

    def fitting(layers: nn.Module) -> int:
        return sum(ours == theirs for ours, theirs in zip(kernels(layers), kernels(model.model), strict=False))

    if found is None:
        return
    assert len(found.weights.model) == len(model.model)
    assert fitting(found.weights.model) > fitting(weights.model)
    order = [list(weights.model).index(layer) for layer in found.weights.model if not isinstance(layer, nn.Identity)]
    assert order == sorted(set(order))


@given(WIDTHS, st.data())
def test_an_inserted_layer_is_found(channels: list[int], data: st.DataObject) -> None:
    """Of a width that no other layer has."""
    weights = network(channels)
    place = data.draw(st.integers(0, len(channels) - 1))
    model = network(channels)
    layers = list(model.model)
    layers.insert(place, nn.Conv2d(9, 9, 1))
    model.model = nn.Sequential(*layers)
    found = alignment.align(weights, model)
    if place == len(channels) - 1:  # behind all
        assert found is None
        return
    assert found is not None
    assert [layer for layer in found.weights.model if not isinstance(layer, nn.Identity)] == list(weights.model)
    assert found.moves[-1] == f"starting fresh: {place} (Conv2d)"


def test_which_networks_are_looked_at() -> None:
    assert registry.has_registered(nn.Sequential(nn.Sequential(yolo_focal.FocalModulation(4))))
    assert not registry.has_registered(nn.Sequential(nn.Conv2d(3, 3, 1)))
