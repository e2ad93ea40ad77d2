"""The deployment examples, built and run as their users would, against scripts/predict_onnx.py."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import pytest
from conftest import REPO, YOLO, run
from test_export import SCRIPT, read, same

from yolo_focal.scenes import scene

pytestmark = pytest.mark.slow
CPP = REPO / "scripts" / "deploy" / "cpp"
FOR_OPENCV46 = CPP / "for_opencv46.py"
CONF = 0.1


def needs(**packages: str) -> None:
    """Skip the test where a program is missing, and name the Debian package that brings it."""
    for program, package in packages.items():
        if not shutil.which(program):
            pytest.skip(f"{program} is missing: apt-get install {package}")


@pytest.fixture(scope="module")
def folder(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two exports, `last.onnx` as it comes and `last12.onnx` for old OpenCV, and pictures, one of the model's size."""
    folder = tmp_path_factory.mktemp("deploy")
    for name, opset in {"last": [], "last12": ["opset=12"]}.items():
        shutil.copy(checkpoint, folder / f"{name}.pt")
        run(YOLO, "export", f"model={name}.pt", "format=onnx", *opset, cwd=folder)
    for i, size in enumerate([(128, 128), (700, 500), (150, 200), (333, 517)]):
        cv2.imwrite(str(folder / f"{i}.png"), cv2.resize(scene("val", i)[0], size))
    run(sys.executable, FOR_OPENCV46, "model=last12.onnx", cwd=folder)
    return folder


def by_script(folder: Path, picture: Path, model: str) -> list:
    args = (f"model={model}", f"source={picture.name}", f"conf={CONF}", "save=script.png")
    return read(run(sys.executable, SCRIPT, *args, cwd=folder).stdout)


def test_what_is_rewritten_for_an_old_opencv_computes_the_same(folder: Path) -> None:
    image = np.random.default_rng(0).random((1, 3, 128, 128), np.float32)
    before, after = (
        onnxruntime.InferenceSession(folder / name).run(None, {"images": image})[0]
        for name in ("last12.onnx", "last12-opencv46.onnx")
    )
    assert abs(before - after).max() < 1e-4


def test_an_export_that_cannot_be_rewritten_is_named(folder: Path) -> None:
    done = run(sys.executable, FOR_OPENCV46, "model=last.onnx", cwd=folder, check=False)
    assert done.returncode == 1
    assert done.stdout.startswith("model=last.onnx: exported with opset=")
    assert done.stdout.endswith("make it with: yolo export model=best.pt format=onnx opset=12\n")


@pytest.fixture(scope="module")
def predict(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The C++ example, built."""
    needs(cmake="cmake", **{"c++": "g++"})
    build = tmp_path_factory.mktemp("build")
    configured = run("cmake", "-S", CPP, "-B", build, cwd=build, check=False)
    if "OpenCVConfig.cmake" in configured.stdout:
        pytest.skip("OpenCV's headers are missing: apt-get install libopencv-dev")
    run("cmake", "--build", build, cwd=build)
    return build / "predict"


def test_the_cpp_example_finds_the_same_boxes(predict: Path, folder: Path, tmp_path: Path) -> None:
    found = 0
    for picture in sorted(folder.glob("[0-9].png")):
        save = tmp_path / picture.name
        args = ("model=last12-opencv46.onnx", f"source={picture.name}", f"conf={CONF}", f"save={save}")
        out = run(predict, *args, cwd=folder).stdout
        expected = by_script(folder, picture, "last12.onnx")
        same(read(out), expected)
        assert out.splitlines()[-1] == f"{len(expected)} boxes, drawn in {save}"
        drawn, before = cv2.imread(str(save)), cv2.imread(str(picture))
        assert drawn.shape == before.shape
        assert (drawn != before).any() == bool(expected)
        found += len(expected)
    assert found > 3


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "model= is missing: predict model=best.onnx source=photo.jpg"),
        (["model=no.onnx", "source=0.png"], "model=no.onnx: no such file; make it with: yolo export"),
        (["model=0.png", "source=0.png"], "model=0.png: no ONNX file; make it with: yolo export"),
        (["model=last.onnx", "source=no.jpg"], "source=no.jpg: no image can be read there; write the path of a JPEG"),
        (["model=last.onnx", "source=0.png", "conf=high"], "conf=high: write a number, such as conf=0.25"),
        (["modle=last.onnx"], "modle=last.onnx: unknown argument; write key=value, key one of conf, iou, model"),
        (["model=last12-opencv46.onnx", "source=0.png", "save=no/out.png"], "save=no/out.png: the image cannot be"),
    ],
)
def test_wrong_arguments_are_named(args: list[str], message: str, predict: Path, folder: Path) -> None:
    done = run(predict, *args, cwd=folder, check=False)
    assert done.returncode == 1
    assert any(line.startswith(message) for line in done.stdout.splitlines())
