"""The focal twin of a trained checkpoint: what it keeps, what is fitted, and how near it comes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
import ultralytics
from conftest import COMMAND, YOLO, python, run
from torch import nn
from ultralytics.nn.modules import SPPF

from yolo_focal import ConfigError, FocalModulation, pictures, shapes, warm
from yolo_focal.graft import graft, pass_through

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
    kept = {k: v for k, v in twin.model.state_dict().items() if not k.startswith(f"model.{index}.")}
    assert kept.keys() == {k for k in before if not k.startswith(f"model.{index}.")}
    assert all(torch.equal(value, before[key]) for key, value in kept.items())
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
            "x.pt, row 0: Conv makes 16x32x32 of 3x64x64, and FocalModulation keeps the shape of one map; "
            "write replace= with a module that does",
        ),
        (
            "yolov8n.yaml",
            "Concat",
            "x.pt, row 11: Concat makes 384x4x4 of 2 maps, and FocalModulation keeps the shape of one map; "
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
    monkeypatch.setattr(warm, "_VIEWS", 48)


@pytest.mark.usefixtures("brief")
@pytest.mark.parametrize(
    ("name", "replace"), [("yolov8n.yaml", "SPPF"), ("yolo26n.yaml", "SPPF"), ("yolo11n.yaml", "C2PSA")]
)
def test_the_fit_comes_nearer_and_touches_nothing_else(name: str, replace: str, images: Path) -> None:
    files = sorted(images.iterdir())[:32]
    original = network(name).train()
    for part in original.modules():  # untrained, its values would fade from layer to layer
        part.momentum = None
    with torch.no_grad():
        for batch in pictures.whole(files, 128):
            original(batch)
    twin = graft(original.eval(), name, replace)
    (index,) = twin.layers
    models = {"original": original, "twin": twin.model}
    before = {which: {k: v.clone() for k, v in m.state_dict().items()} for which, m in models.items()}
    curve = warm.fit(original, twin.layers, files, 128)
    assert [(p.layer, p.step) for p in curve] == [(index, step) for step in range(2, 61, 2)]
    assert curve[-1].fitted < 0.1 < curve[-1].held_out  # of a network that was never trained, and 48 views
    for which, model in models.items():
        changed = {k for k, v in model.state_dict().items() if not torch.equal(v, before[which][k])}
        assert all(key.startswith(f"model.{index}.") for key in changed)
        assert bool(changed) == (which == "twin")
    assert not any(layer._forward_hooks for layer in original.model)


def test_an_sppf_is_explained_in_part_before_the_first_step() -> None:
    torch.manual_seed(0)
    old, new = SPPF(64, 64).eval(), FocalModulation(64)
    with torch.no_grad():
        for conv in (old.cv1, old.cv2):
            conv.bn.running_mean.normal_()
            conv.bn.running_var.uniform_(0.01, 0.1)
        maps = [(x, old(x)) for x in (torch.randn(16, 64, side, side) for side in (8, 12))]
    warm._start(new, old, maps, torch.device("cpu"))
    assert warm._share(new, maps, torch.device("cpu")) < 0.5


def test_the_share_is_of_the_variance() -> None:
    y = torch.randn(4, 8, 5, 5) * 3 + 7
    mean = lambda x: x * 0 + y.mean()  # noqa: E731
    assert warm._share(mean, [(y, y)], torch.device("cpu")) == pytest.approx(1, abs=1e-2)
    assert warm._share(nn.Identity(), [(y, y)], torch.device("cpu")) == 0


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
            "yolo-focal derive: images= is missing: write a folder of pictures like those that the network is for, "
            "without labels; the new layer is fitted to what the old one computes on them",
        ),
        (["model=yolov8n.pt", "images=no"], "images=no: there is no such folder; write one that holds pictures"),
        (
            ["model=yolov8n.pt", "save=yolov8n.pt"],
            "yolov8n.pt: there is another file of that name; write save= with a new one",
        ),
        (
            ["model=yolov8n-cls.pt", "replace=SPP"],
            "yolov8n-cls.pt: no row names SPP; write replace= with one of C2f, Classify, Conv",
        ),
        (
            ["model=four.pt", "images=."],
            "images=.: it holds no picture; write a folder that holds some",
        ),
        (
            ["model=four.pt", f"images={ASSETS}"],
            "model=four.pt: it takes 4 channels, and a warm start reads RGB pictures only",
        ),
        (
            ["model=none.pt"],
            "model=none.pt: there is no such file; write a checkpoint, such as runs/detect/train/weights/best.pt",
        ),
    ],
)
def test_wrong_arguments_are_named_and_leave_nothing(arguments: list[str], message: str, untrained: Path) -> None:
    before = {file: file.read_bytes() for file in untrained.iterdir()}
    done = run(COMMAND, "derive", *arguments, cwd=untrained, check=False)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (1, message)
    assert {file: file.read_bytes() for file in untrained.iterdir()} == before


def test_a_classifier_needs_no_pictures(untrained: Path, tmp_path: Path) -> None:
    twin = tmp_path / "twin.pt"
    out = run(COMMAND, "derive", "model=yolov8n-cls.pt", f"save={twin}", cwd=untrained).stdout
    assert out.splitlines()[-2:] == [
        "row 9: FocalModulation, [] before Classify, as there is no SPPF",
        f"{twin}: written",
    ]
    assert [file.name for file in tmp_path.iterdir()] == ["twin.pt"]
    models = [ultralytics.YOLO(file).model.eval() for file in (untrained / "yolov8n-cls.pt", twin)]
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(models[0](x)[0], models[1](x)[0])


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of stock YOLOv8 that finds shapes."""
    folder = tmp_path_factory.mktemp("stock")
    run(
        *(YOLO, "train", "model=yolov8n.yaml", "data=shapes.yaml", "imgsz=128", "epochs=10", "batch=8"),
        *("workers=0", "plots=False"),
        cwd=folder,
    )
    return folder / "runs" / "detect" / "train" / "weights" / "best.pt"


@pytest.mark.slow
def test_the_twin_of_a_trained_checkpoint_finds_what_it_found(stock: Path, images: Path, tmp_path: Path) -> None:
    unlabelled = images.parent / "train"
    out = run(
        *(COMMAND, "derive", f"model={stock}", f"images={unlabelled}", "data=shapes.yaml", "save=new/twin.pt"),
        cwd=tmp_path,
    ).stdout
    scores = re.fullmatch(r"mAP50-95\(B\): (\S+) before, (\S+) after \((\S+)%\)", out.splitlines()[-1])
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
