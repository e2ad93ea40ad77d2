"""The warm start: the new layer is fitted to what the old one computes, for how long, and what is said of it."""

from __future__ import annotations

import logging
import math
import os
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from networks import network
from support import further
from torch import nn
from ultralytics.nn.modules import SPPF
from ultralytics.utils import LOGGER

from yolo_focal import FocalModulation
from yolo_focal.images import letterboxed
from yolo_focal.twin import warm
from yolo_focal.twin.graft import graft
from yolo_focal.twin.initialization import initialize


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warm, "_STEPS", 60)
    monkeypatch.setattr(warm, "_MAX_STEPS", 60)
    monkeypatch.setattr(warm, "_VIEWS", 48)
    monkeypatch.setattr(warm, "_is_flat", lambda curve: False)  # noqa: ARG005


@pytest.mark.usefixtures("brief")
@pytest.mark.parametrize(
    ("name", "replace", "module"),
    [
        ("yolov8n.yaml", "SPPF", "FocalModulation"),
        *further(("yolo26n.yaml", "SPPF", "FocalModulation"), ("yolo11n.yaml", "C2PSA", "FocalModulation")),
        ("yolo26n.yaml", "C2PSA", "C2Focal"),
    ],
)
def test_the_fit_comes_nearer_and_touches_nothing_else(name: str, replace: str, module: str, images: Path) -> None:
    files = sorted(images.iterdir())[:32]
    original = network(name).train()
    for part in original.modules():  # untrained, its values would fade from layer to layer
        part.momentum = None
    with torch.no_grad():
        for batch in letterboxed(files, 128):
            original(batch)
    twin = graft(original.eval(), name, replace, module=module)
    models = {"original": original, "twin": twin.model}
    before = {which: {k: v.clone() for k, v in m.state_dict().items()} for which, m in models.items()}
    curve = warm.fit(original, twin.layers, files, 128)
    assert [(p.layer, p.step) for p in curve] == [(index, step) for index in twin.layers for step in range(2, 61, 2)]
    for index in twin.layers:
        last = [point for point in curve if point.layer == index][-1]
        assert last.fitted < 0.15 < last.held_out  # of an untrained network, with 48 views
    for which, model in models.items():
        changed = {k for k, v in model.state_dict().items() if not torch.equal(v, before[which][k])}
        assert all(int(key.split(".")[1]) in twin.layers for key in changed)
        assert bool(changed) == (which == "twin")
    assert not any(layer._forward_hooks for layer in original.model)


@pytest.mark.parametrize("cores", [1, 4])
def test_the_number_of_threads_is_put_back(cores: int, monkeypatch: pytest.MonkeyPatch) -> None:
    inside: list[int] = []

    def stop(*_: object) -> list[warm.Point]:
        inside.append(torch.get_num_threads())
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    monkeypatch.setattr(warm, "_fit", stop)
    before = torch.get_num_threads()
    with pytest.raises(KeyboardInterrupt):
        warm.fit(None, {}, [], 640)
    assert inside == [max(1, cores - 1)]
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(
    ("count", "views", "steps"),
    [(1, 32, 600), (6, 192, 600), (24, 704, 600), (102, 1600, 1500), (1000, 1874, 2811), (5000, 9374, 4500)],
)
def test_the_work_grows_with_the_images(count: int, views: int, steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    one = torch.zeros(1, 1, 1, 1)
    monkeypatch.setattr(warm, "TQDM", lambda batches, **_: nullcontext(batches))
    monkeypatch.setattr(warm, "_record", lambda *_: {9: [(one, one)]})
    monkeypatch.setattr(warm.images, "views", lambda files, imgsz, stride, count: asked.append(count))  # noqa: ARG005
    monkeypatch.setattr(warm, "_fit_layer", lambda *arguments: [arguments[-1]])
    original = SimpleNamespace(stride=[32.0], model={9: None})
    files = [Path(f"{index:04}.jpg") for index in range(count)]
    assert warm.fit(original, {9: one}, files, 640) == [steps]
    assert asked == [1, views]


class Bar:
    """What a progress bar was told."""

    def __init__(self, total: int, desc: str) -> None:
        self.total, self.desc, self.n, self.shown = total, desc, 0, {}

    def update(self, steps: int) -> None:
        self.n += steps

    def set_postfix(self, **shown: str) -> None:
        self.shown = shown

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def small() -> tuple[nn.Module, warm.Maps]:
    """A layer of eight channels, and inputs and outputs of two sizes."""
    torch.manual_seed(0)
    old = SPPF(8, 8).eval()
    with torch.no_grad():
        return old, [(x, old(x)) for x in (torch.randn(8, 8, 6, 6), torch.randn(8, 8, 5, 5))]


def fit_small(held_out: bool, monkeypatch: pytest.MonkeyPatch) -> tuple[list[warm.Point], Bar]:
    old, maps = small()
    bars: list[Bar] = []
    monkeypatch.setattr(warm, "TQDM", lambda **arguments: bars.append(Bar(**arguments)) or bars[-1])
    return warm._fit_layer(9, FocalModulation(8), old, maps[:1], maps[1:] if held_out else [], 60), bars[0]


def test_the_fit_runs_through_its_schedule(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warm, "_is_flat", lambda curve: False)  # noqa: ARG005
    curve, bar = fit_small(True, monkeypatch)
    assert [point.step for point in curve] == [*range(2, 61, 2)]
    assert (bar.desc, bar.n, bar.total) == ("Fitting layer 9", 60, 60)
    assert bar.shown == {"unexplained": f"{curve[-1].fitted:.3f}", "on_held_out": f"{curve[-1].held_out:.3f}"}


def test_a_flat_curve_ends_the_fit_early(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warm, "_unexplained", lambda *_: 0.5)
    curve, bar = fit_small(True, monkeypatch)
    # From the sixth point on, after 12 steps, four at a time; the rest of the schedule is 49 of them.
    assert [point.step for point in curve] == [*range(2, 25, 2)]
    assert (bar.n, bar.total) == (60, 60)


def test_what_is_not_held_out_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    curve, bar = fit_small(False, monkeypatch)
    assert len(curve) == 30 and all(math.isnan(point.held_out) for point in curve)
    assert bar.shown == {"unexplained": f"{curve[-1].fitted:.3f}"}


@pytest.mark.parametrize(
    ("losses", "line"),
    [
        ([0.5, 0.125], "layer 9: explains 87.5% of the old layer's variance on images that were held out from the fit"),
        (
            [0.5, 409.847],
            "layer 9: explains nothing of the old layer's output: on images that were held out from the fit its mean "
            "squared error is 409.8 times the variance",
        ),
        (
            [math.nan, math.nan],
            "layer 9: how well it fits other images is not known: of fewer than 16 none were held out",
        ),
    ],
)
def test_the_log_says_what_the_fit_explains_of_images_held_out(losses: list[float], line: str) -> None:
    curve = [warm.Point(9, step, 0.1, loss) for step, loss in enumerate(losses)]
    assert warm.explained(curve) == [line]
    assert warm.explained([*curve, *(point._replace(layer=8) for point in curve)]) == [line, line.replace("9:", "8:")]


@pytest.mark.parametrize(
    ("losses", "is_flat"),
    [
        ([], False),
        ([0.5] * 5, False),
        ([0.5] * 6, True),
        ([0.5] * 5 + [0.496], True),
        ([0.5] * 5 + [0.494], False),
        ([0.5, 0.4, 0.3, 0.5, 0.5, 0.5, 0.5, 0.5], True),
        ([math.nan] * 9, False),
    ],
)
def test_when_a_curve_is_flat(losses: list[float], is_flat: bool) -> None:
    assert warm._is_flat([warm.Point(9, step, 0.1, loss) for step, loss in enumerate(losses)]) == is_flat


def test_a_fit_ends_without_a_progress_bar_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LOGGER, "level", logging.ERROR)  # Ultralytics' bar counts nothing then
    old, maps = small()
    assert len(warm._fit_layer(9, FocalModulation(8), old, maps, [], 30)) == 30


@pytest.mark.parametrize("adds_its_input", [False, True])
def test_an_sppf_is_explained_in_part_before_the_first_step(adds_its_input: bool) -> None:
    torch.manual_seed(0)
    old, new = SPPF(64, 64).eval(), FocalModulation(64)
    old.add = adds_its_input  # as YOLO26's does
    with torch.no_grad():
        for conv in (old.cv1, old.cv2):
            conv.bn.running_mean.normal_()
            conv.bn.running_var.uniform_(1, 2) if adds_its_input else conv.bn.running_var.uniform_(0.01, 0.1)
        maps = [(x, old(x)) for x in (torch.randn(16, 64, side, side) for side in (8, 12))]
    initialize(new, old, maps, torch.device("cpu"))
    assert warm._unexplained(new, maps, torch.device("cpu")) < 0.5


def test_the_loss_is_a_fraction_of_the_variance() -> None:
    y = torch.randn(4, 8, 5, 5) * 3 + 7
    mean = lambda x: x * 0 + y.mean()  # noqa: E731
    assert warm._unexplained(mean, [(y, y)], torch.device("cpu")) == pytest.approx(1, abs=1e-2)
    assert warm._unexplained(nn.Identity(), [(y, y)], torch.device("cpu")) == 0
