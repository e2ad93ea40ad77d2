"""The focal twin of a trained checkpoint: what it keeps, what is fitted, and how near it comes."""

from __future__ import annotations

import json
import logging
import math
import os
import re
import signal
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import ultralytics
from support import COMMAND, YOLO, further, python, run, start
from torch import nn
from ultralytics.nn.modules import SPPF
from ultralytics.utils import LOGGER

from yolo_focal import ConfigError, FocalModulation, shapes
from yolo_focal.images import letterboxed
from yolo_focal.twin import checkpoint, warm
from yolo_focal.twin.graft import graft, pass_through

ASSETS = Path(ultralytics.__file__).parent / "assets"


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "set"
    shapes.draw(folder)
    return folder / "images" / "val"


def network(name: str) -> nn.Module:
    torch.manual_seed(0)
    return (ultralytics.RTDETR if "rtdetr" in name else ultralytics.YOLO)(name).model.eval()


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


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warm, "_STEPS", 60)
    monkeypatch.setattr(warm, "_MAX_STEPS", 60)
    monkeypatch.setattr(warm, "_VIEWS", 48)
    monkeypatch.setattr(warm, "_is_flat", lambda curve: False)  # noqa: ARG005


@pytest.mark.usefixtures("brief")
@pytest.mark.parametrize(
    ("name", "replace"), [("yolov8n.yaml", "SPPF"), *further(("yolo26n.yaml", "SPPF"), ("yolo11n.yaml", "C2PSA"))]
)
def test_the_fit_comes_nearer_and_touches_nothing_else(name: str, replace: str, images: Path) -> None:
    files = sorted(images.iterdir())[:32]
    original = network(name).train()
    for part in original.modules():  # untrained, its values would fade from layer to layer
        part.momentum = None
    with torch.no_grad():
        for batch in letterboxed(files, 128):
            original(batch)
    twin = graft(original.eval(), name, replace)
    (index,) = twin.layers
    models = {"original": original, "twin": twin.model}
    before = {which: {k: v.clone() for k, v in m.state_dict().items()} for which, m in models.items()}
    curve = warm.fit(original, twin.layers, files, 128)
    assert [(p.layer, p.step) for p in curve] == [(index, step) for step in range(2, 61, 2)]
    assert curve[-1].fitted < 0.1 < curve[-1].held_out  # of an untrained network, with 48 views
    for which, model in models.items():
        changed = {k for k, v in model.state_dict().items() if not torch.equal(v, before[which][k])}
        assert all(key.startswith(f"model.{index}.") for key in changed)
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
    warm._initialize(new, old, maps, torch.device("cpu"))
    assert warm._unexplained(new, maps, torch.device("cpu")) < 0.5


def test_the_loss_is_a_fraction_of_the_variance() -> None:
    y = torch.randn(4, 8, 5, 5) * 3 + 7
    mean = lambda x: x * 0 + y.mean()  # noqa: E731
    assert warm._unexplained(mean, [(y, y)], torch.device("cpu")) == pytest.approx(1, abs=1e-2)
    assert warm._unexplained(nn.Identity(), [(y, y)], torch.device("cpu")) == 0


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("untrained")
    save = "from ultralytics import YOLO\nfor name in 'yolov8n', 'yolov8n-cls': YOLO(name + '.yaml').save(name + '.pt')"
    python(save, folder)
    wider = (
        "from ultralytics import YOLO\nfrom ultralytics.nn.tasks import DetectionModel\n"
        "four = YOLO('yolov8n.pt'); four.model = DetectionModel('yolov8n.yaml', ch=4); four.save('four.pt')"
    )
    python(wider, folder)
    return folder


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["model=yolov8n.pt"],
            "yolo-focal derive: images= is missing: write a folder of images like those that the network is for, "
            "without labels; the new layer is fitted to what the old one computes on them",
        ),
        (
            ["model=yolov8n.pt", "save=yolov8n.pt"],
            "yolov8n.pt: there is another file of that name; write save= with a new one",
        ),
        *further(
            (["model=yolov8n.pt", "images=no"], "images=no: there is no such folder; write one that holds images"),
            (
                ["model=yolov8n-cls.pt", "replace=SPP"],
                "yolov8n-cls.pt: no row names SPP; write replace= with one of C2f, Classify, Conv",
            ),
            (["model=four.pt", "images=."], "images=.: it holds no image; write a folder that holds some"),
            (
                ["model=four.pt", f"images={ASSETS}"],
                "model=four.pt: it takes 4 channels, and a warm start reads RGB images only",
            ),
            (
                ["model=none.pt"],
                "model=none.pt: there is no such file; write a checkpoint, such as runs/detect/train/weights/best.pt",
            ),
        ),
    ],
)
def test_wrong_arguments_are_named_and_leave_nothing(arguments: list[str], message: str, untrained: Path) -> None:
    before = {file: file.read_bytes() for file in untrained.iterdir()}
    done = run(COMMAND, "derive", *arguments, cwd=untrained, check=False)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (1, message)
    assert {file: file.read_bytes() for file in untrained.iterdir()} == before


def test_a_classifier_needs_no_images(untrained: Path, tmp_path: Path) -> None:
    twin = tmp_path / "twin.pt"
    out = run(COMMAND, "derive", "model=yolov8n-cls.pt", f"save={twin}", cwd=untrained).stdout
    assert out.splitlines()[-3:] == [
        "row 9: FocalModulation, [] before Classify, as there is no SPPF",
        f"{twin}: written",
        f"yolo train model={twin} data=my.yaml",
    ]
    assert [file.name for file in tmp_path.iterdir()] == ["twin.pt"]
    models = [ultralytics.YOLO(file).model.eval() for file in (untrained / "yolov8n-cls.pt", twin)]
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(models[0](x)[0], models[1](x)[0])


@pytest.mark.parametrize("stopped", ["fit", "_draw"])
def test_whoever_stops_it_finds_nothing_written(
    stopped: str, untrained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(warm, "fit", lambda *_: [warm.Point(9, 1, 0.5, 0.5)])
    monkeypatch.setattr(warm if stopped == "fit" else checkpoint, stopped, stop)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.derive_checkpoint(str(untrained / "yolov8n.pt"), tmp_path / "twin.pt", str(ASSETS))
    assert not list(tmp_path.iterdir())


def test_whoever_stops_the_validation_has_the_twin(
    untrained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(model: str | Path, _: str) -> dict[str, float]:
        if model == twin:
            raise KeyboardInterrupt
        return {"top1": 0.5}

    lines: list[str] = []
    monkeypatch.setattr(checkpoint.evaluation, "difference", lambda *_: "")
    monkeypatch.setattr(checkpoint.evaluation, "validate", stop)
    monkeypatch.setattr(LOGGER, "info", lines.append)
    twin = tmp_path / "twin.pt"
    checkpoint.derive_checkpoint(str(untrained / "yolov8n-cls.pt"), twin, data="my.yaml")
    assert lines[-3:] == [
        f"{twin}: written",
        f"{twin}: written, but not validated",
        f"yolo train model={twin} data=my.yaml",
    ]
    assert [file.name for file in tmp_path.iterdir()] == ["twin.pt"]


@pytest.mark.slow
def test_ctrl_c_during_the_fit(untrained: Path, tmp_path: Path) -> None:
    command = [COMMAND, "derive", f"model={untrained / 'yolov8n.pt'}", f"images={ASSETS}", "save=new/twin.pt"]
    with start(*command, cwd=tmp_path) as process:
        printed = ""
        while "Fitting" not in printed:
            printed += process.stdout.read(1)
        process.send_signal(signal.SIGINT)
        printed += process.stdout.read()
    assert process.returncode == 130
    assert printed.splitlines()[-1].startswith("yolo-focal derive: stopped; nothing was written")
    assert "Traceback" not in printed
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_twin_of_a_trained_checkpoint_finds_what_it_found(
    of_task: Callable[[str], Path], images: Path, tmp_path: Path
) -> None:
    stock = of_task("detect")
    unlabelled = images.parent / "train"
    out = run(
        *(COMMAND, "derive", f"model={stock}", f"images={unlabelled}", "data=shapes.yaml", "save=new/twin.pt"),
        cwd=tmp_path,
    ).stdout
    *_, report, command = lines = out.splitlines()
    explained = re.compile(
        r"layer 9: explains (\S+)% of the old layer's variance on images that were held out from the fit"
    )
    assert 50 < float(next(found[1] for found in map(explained.fullmatch, lines) if found)) < 100
    assert command == "yolo train model=new/twin.pt data=shapes.yaml"
    scores = re.fullmatch(r"mAP50-95\(B\): (\S+) before, (\S+) after \((\S+)%\)", report)
    before, after, share = map(float, scores.groups())
    assert share == pytest.approx(100 * after / before, abs=0.5)
    assert before > 0.6
    assert after > 0.95 * before
    assert {file.name for file in (tmp_path / "new").iterdir()} == {"twin.pt", "twin-fit.png"}
    code = """
import json, torch
from ultralytics import YOLO
ckpt = torch.load("new/twin.pt", weights_only=False)
model = YOLO("new/twin.pt").model
arguments = ckpt["train_args"]
stale = sorted({"best_fitness", "train_metrics", "train_results"} & ckpt.keys())
row = model.yaml["backbone"][-1][2]
print(json.dumps([model.names, arguments["imgsz"], arguments["data"], model.task, row, stale]))
"""
    names, imgsz, data, task, row, stale = json.loads(python(code, tmp_path).splitlines()[-1])
    assert list(names.values()) == ["circle", "square", "triangle", "star"]
    assert (imgsz, Path(data).name, task, row, stale) == (128, "shapes.yaml", "detect", "FocalModulation", [])
    small = ("data=shapes.yaml", "imgsz=64", "fraction=0.2", "workers=0", "plots=False", "epochs=1")
    done = run(YOLO, "train", "model=new/twin.pt", *small, cwd=tmp_path).stdout
    assert "Transferred 351/351 items" in done and "starts fresh" not in done
