"""`visualize`: models of any task, any of their layers, none of them changed; and what cannot be drawn is refused."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from networks import tiny
from support import COMMAND, run
from torch import Tensor, nn
from ultralytics import YOLO
from ultralytics.utils import files

import yolo_focal
from yolo_focal import ConfigError, FocalModulation


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
