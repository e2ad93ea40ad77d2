"""`visualize`: its maps are the paper's terms, in the right place over the image, and the model is not changed."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
import yaml
from matplotlib.figure import Figure
from support import COMMAND, further, run
from torch import Tensor, nn
from ultralytics import YOLO
from ultralytics.utils import files

import yolo_focal
from yolo_focal import ConfigError, FocalModulation, images
from yolo_focal.visualization import heatmaps, maps

TINY = [[-1, 1, "Conv", [16, 3, 2]], [-1, 1, "Conv", [32, 3, 2]]]  # rows before FocalModulation


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `runs` be below the test's own folder."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """An image twice as wide as high."""
    file = tmp_path / "photo.png"
    cv2.imwrite(str(file), np.random.RandomState(0).randint(0, 256, (60, 120, 3), np.uint8))
    return file


def tiny(*rows: list[Any], name: str = "tiny.yaml", imgsz: int = 64) -> YOLO:
    """Build a classifier with these rows in it."""
    Path(name).write_text(yaml.safe_dump({"nc": 3, "backbone": [*TINY, *rows], "head": [[-1, 1, "Classify", ["nc"]]]}))
    torch.manual_seed(0)
    model = YOLO(name)
    model.overrides["imgsz"] = imgsz
    return model


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


def snapshot(network: nn.Module) -> dict[str, Any]:
    """Return the state of every module: parameters, buffers, modes, hooks and all other attributes."""
    state: dict[str, Any] = {key: value.clone() for key, value in network.state_dict().items()}
    for name, module in network.named_modules():
        for key, value in vars(module).items():
            if "hook" in key:
                state[f"{name}.{key}"] = dict(value) if isinstance(value, dict) else value
            elif key not in {"_parameters", "_buffers", "_modules"}:
                state[f"{name}.{key}"] = str(value)
    return state


@pytest.mark.parametrize("name", ["yolov8n-focal.yaml", "yolov8n-focal-seg.yaml", "yolov8n-focal-cls.yaml"])
def test_the_model_is_left_as_it_was(name: str, photo: Path) -> None:
    model = YOLO(name)
    model.overrides["imgsz"] = 64
    model.model.train()
    model.model.model[3].eval()  # as a frozen layer is
    focal = next(m for m in model.model.modules() if isinstance(m, FocalModulation))
    focal.h.register_forward_hook(lambda *_: None)  # the user's own stays
    before = snapshot(model.model)
    yolo_focal.visualize(model, photo)
    after = snapshot(model.model)
    assert after.keys() == before.keys()
    for key, value in before.items():
        assert torch.equal(after[key], value) if isinstance(value, Tensor) else after[key] == value, key


def test_the_model_is_left_as_it_was_when_it_fails(photo: Path) -> None:
    model = tiny([-1, 1, "FocalModulation", []])
    model.model.model[0].conv = nn.Conv2d(5, 16, 3)
    model.model.train()
    before = snapshot(model.model)
    with pytest.raises(RuntimeError):
        yolo_focal.visualize(model, photo)
    assert snapshot(model.model).keys() == before.keys()
    assert all(module.training for module in model.model.modules())
    assert not any(module._forward_pre_hooks for module in model.model.modules())


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


def test_a_trained_detector_from_the_command_line(checkpoint: Path, photo: Path) -> None:
    for name in ("set/bus.jpg", "set/bus.png", "set/below/van.jpg"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(name, cv2.imread(str(photo)))
    out = run(COMMAND, "visualize", f"model={checkpoint}", "source=set", cwd=Path.cwd()).stdout
    first = Path("runs/visualize")
    assert out.splitlines()[-1] == f"Results saved to {first}"
    assert "Drawing layer 9" in out and "3/3" in out
    written = sorted(file.relative_to(first).as_posix() for file in first.rglob("*") if file.is_file())
    names = ["below/van.jpg", "bus.jpg", "bus.png"]  # in full, because two differ in nothing else
    assert written == [f"{name}.{suffix}" for name in names for suffix in ("npz", "png")]
    for name in names:
        assert np.load(first / f"{name}.npz")["gates"].shape == (3, 4, 4)
        assert len(np.unique(cv2.imread(str(first / f"{name}.png")))) > 200
    second = files.increment_path(first)  # visualize-2, or visualize2 in older releases
    run(COMMAND, "visualize", f"model={checkpoint}", f"source={photo}", "layer=9", cwd=Path.cwd())
    assert sorted(file.name for file in second.iterdir()) == ["photo.npz", "photo.png"]


@pytest.mark.parametrize(
    ("name", "positions"),
    [
        ("yolov8n-focal-cls.yaml", 20),
        ("yolov8n-focal-seg.yaml", 20),
        ("yolov8n-focal-pose-p6.yaml", 10),
        ("yolo11n-focal-obb.yaml", 20),
    ],
)
def test_any_task_that_was_saved_untrained(name: str, positions: int, photo: Path) -> None:
    YOLO(name).save("untrained.pt")
    folder = yolo_focal.visualize("untrained.pt", str(photo))
    assert folder == Path("runs/visualize") and (folder / "photo.png").stat().st_size > 10_000
    assert np.load(folder / "photo.npz")["gates"].shape == (3, positions, positions)


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that were written, in their order."""
    written: list[Figure] = []
    save = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda self, *a, **k: (written.append(self), save(self, *a, **k)))
    return written


def test_layer_picks_one_of_several(photo: Path, figures: list[Figure]) -> None:
    model = tiny(
        [-1, 1, "FocalModulation", []],
        [-1, 1, "Conv", [24, 3, 2]],
        [-1, 2, "FocalModulation", [{"focal_level": 1}]],
    )
    for layer, shape in (None, (3, 16, 16)), (2, (3, 16, 16)), ("2", (3, 16, 16)), ("4.1", (2, 8, 8)):
        folder = yolo_focal.visualize(model, photo, layer)
        assert np.load(folder / "photo.npz")["gates"].shape == shape
    titles = [figure.texts[0].get_text() for figure in figures]
    assert titles == [
        *3 * ["FocalModulation, layer 2: 16 x 16 positions over 64 x 64 pixels"],
        "FocalModulation, layer 4.1: 8 x 8 positions over 64 x 64 pixels",
    ]


@pytest.mark.slow
def test_the_other_layers_are_named(photo: Path) -> None:
    tiny([-1, 1, "FocalModulation", []], [-1, 2, "FocalModulation", []]).save("two.pt")
    arguments = ("visualize", "model=two.pt", f"source={photo}")
    line = "Layer 2 is drawn; layer= draws another FocalModulation: 3.0, 3.1"
    assert line in run(COMMAND, *arguments, cwd=Path.cwd()).stdout.splitlines()
    assert line not in run(COMMAND, *arguments, "layer=2", cwd=Path.cwd()).stdout.splitlines()


def some_maps(levels: int, positions: int) -> maps.Maps:
    torch.manual_seed(0)
    contexts = torch.rand(levels + 1, 8, positions, positions)
    contexts[-1] = 0.5
    gates = torch.randn(levels + 1, positions, positions)
    return maps.Maps(torch.rand(8, positions, positions), gates, contexts, list(range(3, 3 + levels)))


def test_a_panel_for_each_map(tmp_path: Path, figures: list[Figure]) -> None:
    square = np.full((64, 64, 3), 90, np.uint8)
    heatmaps.draw(square, (slice(16, 48), slice(0, 64)), some_maps(2, 8), "Title", tmp_path / "figure.png")
    (figure,) = figures
    titles = [text.get_text().split("\n")[0] for text in figure.texts]
    assert titles == [
        "Title: 8 x 8 positions over 64 x 64 pixels",
        heatmaps._LEGEND[: len(titles[1])],
        "Image",
        "Modulator",
        "Gate of level 1",
        "Context of level 1: 3 x 3 positions",
        "Gate of level 2",
        "Context of level 2: 4 x 4 positions",
        "Gate of the global level",
        "Context of the global level: all positions",
    ]
    assert figure.texts[-1].get_text().endswith(f"norm over the channels, {8**0.5 / 2:.3g} everywhere")
    overlays = [axes.images[1] for axes in figure.axes if len(axes.images) == 2]
    assert all(overlay.get_array().shape == (32, 64) for overlay in overlays)  # the padding is gone
    for overlay, signed in zip(overlays, (False, True, False, True, False, True), strict=True):
        values, (least, most) = overlay.get_array(), overlay.get_clim()
        assert (least, most) == ((-abs(values).max(), abs(values).max()) if signed else (values.min(), values.max()))
        assert overlay.colorbar is not None and len(overlay.colorbar.get_ticks()) > 1
        assert overlay.get_cmap().name == ("RdBu_r" if signed else "viridis")


def test_a_map_lies_where_it_was_computed(tmp_path: Path, figures: list[Figure]) -> None:
    image_maps = some_maps(1, 4)
    image_maps.modulator.zero_()
    image_maps.modulator[:, 1, 3] = 1  # rows 32 to 64 and columns 96 to 128 of the square
    square = np.full((128, 128, 3), 90, np.uint8)
    heatmaps.draw(square, (slice(32, 96), slice(0, 128)), image_maps, "", tmp_path / "figure.png")
    shown = figures[0].axes[1].images[1].get_array()
    rows, columns = np.nonzero(shown > 0.9 * shown.max())
    assert rows.min() < 16 <= rows.max() < 32 and columns.min() < 112 <= columns.max()


@pytest.mark.parametrize(
    ("height", "width", "levels"), [(60, 120, 2), (120, 60, 1), (1, 120, 1), (120, 1, 3), (120, 120, 5)]
)
@pytest.mark.parametrize("scale", [1.0, float("nan"), *further(0.0, -1e-4, 1e30, float("inf"))])
@pytest.mark.filterwarnings("error")
def test_no_text_is_cut_off_or_covered(
    height: int, width: int, levels: int, scale: float, tmp_path: Path, figures: list[Figure]
) -> None:
    image_maps = some_maps(levels, 4)
    image_maps.gates.mul_(scale)
    square = np.full((120, 120, 3), 90, np.uint8)
    heatmaps.draw(square, (slice(0, height), slice(0, width)), image_maps, "Title", tmp_path / "figure.png")
    (figure,) = figures
    boxes = [text.get_window_extent() for text in figure.texts]
    ticks = [axes.get_tightbbox() for axes in figure.axes]
    for box in (*boxes, *ticks):
        assert figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1
        assert figure.bbox.y0 <= box.y0 and box.y1 <= figure.bbox.y1
    for number, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in (*boxes[:number], *ticks))
    for axes in figure.axes:
        if axes.images:
            seen = axes.get_window_extent()
            assert seen.width / seen.height == pytest.approx(width / height, rel=0.01)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["source=photo.png"], "yolo-focal visualize: model= is missing, such as model=best.pt"),
        (["model=one.pt"], "yolo-focal visualize: source= is missing, such as source=photos/"),
    ],
)
def test_missing_arguments_are_named(arguments: list[str], message: str, photo: Path) -> None:
    done = run(COMMAND, "visualize", *arguments, cwd=photo.parent, check=False)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (1, message)


@pytest.mark.parametrize(
    ("model", "source", "layer", "message"),
    [
        (
            "none.pt",
            "photo.png",
            None,
            "model=none.pt: there is no such file; write a checkpoint, such as runs/detect/train/weights/best.pt",
        ),
        (
            "yolov8n-focal.yaml",
            "photo.png",
            None,
            "model=yolov8n-focal.yaml: write a checkpoint, such as runs/detect/train/weights/best.pt",
        ),
        (nn.ReLU(), "photo.png", None, "model=ReLU: write a checkpoint's path or an ultralytics.YOLO of one"),
        (
            "without.pt",
            "photo.png",
            None,
            "model=without.pt: it has no FocalModulation; make a twin that has one with "
            "yolo-focal derive model=without.pt images=FOLDER",
        ),
        (
            "four.pt",
            "photo.png",
            None,
            "model=four.pt: it takes 4 channels, and only RGB images are drawn on",
        ),
        (
            "two.pt",
            "photo.png",
            "3",
            "layer=3: that is no FocalModulation; write layer= with one of 2, 3.0, 3.1",
        ),
        ("two.pt", "photo.png", 9, "layer=9: that is no FocalModulation; write layer= with one of 2, 3.0, 3.1"),
        (
            "two.pt",
            "none",
            None,
            "source=none: there is no such file or folder; write an image or a folder of images",
        ),
        ("two.pt", "empty", None, "source=empty: it holds no image; write a folder that holds some"),
        ("two.pt", "two.pt", None, "two.pt: it cannot be read as an image; move it away or save it anew"),
        ("two.pt", "cut", None, "cut/z.jpg: it cannot be read as an image; move it away or save it anew"),
    ],
)
def test_what_cannot_be_drawn_is_refused_and_leaves_nothing(
    model: Any, source: str, layer: Any, message: str, photo: Path
) -> None:
    tiny([-1, 1, "FocalModulation", []], [-1, 2, "FocalModulation", []]).save("two.pt")
    tiny().save("without.pt")
    four = tiny([-1, 1, "FocalModulation", []])
    four.model = type(four.model)("tiny.yaml", ch=4)
    four.save("four.pt")
    Path("empty").mkdir()
    Path("cut").mkdir()
    shutil.copy(photo, "cut/a.png")
    Path("cut/z.jpg").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(ConfigError) as caught:
        yolo_focal.visualize(model, source, layer)
    assert str(caught.value) == message
    assert not Path("runs").exists()
