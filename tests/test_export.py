"""Export to ONNX, and the script that runs the exported file without torch."""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import pytest
import torch
import ultralytics
from detections import CONF, PHOTOS, blob, by_engine, by_pytorch, by_yolo, read, same
from support import REPO, YOLO, further, run

PRINTED = 0.06  # pixels: the script prints one decimal
SCRIPT = REPO / "scripts" / "predict_onnx.py"


@pytest.fixture(scope="module", params=["static", *further("dynamic")])
def exported(request: pytest.FixtureRequest, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkpoint, `last.pt`, and what `yolo export` made of it, `last.onnx`."""
    folder = tmp_path_factory.mktemp(request.param)
    (folder / "last.pt").write_bytes(checkpoint.read_bytes())
    run(
        YOLO, "export", "model=last.pt", "format=onnx", "imgsz=320", f"dynamic={request.param == 'dynamic'}", cwd=folder
    )
    return folder


@pytest.mark.parametrize("photo", PHOTOS, ids=lambda p: p.stem)
@pytest.mark.parametrize("engine", ["ort", "opencv"])
def test_the_exported_file_agrees_with_pytorch(exported: Path, photo: Path, engine: str) -> None:
    image = blob(photo)
    result = by_engine(engine, exported / "last.onnx", image)
    expected = by_pytorch(exported / "last.pt", image, torch.float32)
    assert result.shape == expected.shape
    # Boxes are in pixels. A model that has seen little amplifies the rounding of float32 itself on photographs of what
    # it does not know; the trained model of the quick start is held to 1e-3 flat.
    rounding = abs(expected - by_pytorch(exported / "last.pt", image, torch.float64)).max()
    assert abs(result - expected).max() < max(1e-3, 5 * rounding)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Images with shapes on them in other sizes than the model's input: large and wide, small and tall."""
    from yolo_focal.shapes.scenes import scene

    folder = tmp_path_factory.mktemp("scenes")
    for i, size in enumerate([(700, 500), (150, 200), (320, 320), (333, 517)]):
        cv2.imwrite(str(folder / f"{i}.png"), cv2.resize(scene("val", i)[0], size))
    return sorted(folder.iterdir())


@pytest.mark.parametrize("engine", ["ort", "opencv"])
def test_the_script_finds_the_boxes_that_yolo_predict_finds(
    exported: Path, engine: str, scenes: list[Path], tmp_path: Path
) -> None:
    boxes = 0
    for scene in scenes:
        args = (f"model={exported / 'last.onnx'}", f"source={scene}", f"engine={engine}", f"conf={CONF}", "imgsz=320")
        out = run(sys.executable, SCRIPT, *args, f"save={tmp_path / 'out.png'}", cwd=tmp_path).stdout
        ours = read(out)
        same(ours, by_yolo(exported / "last.onnx", scene), PRINTED)
        same(ours, by_yolo(exported / "last.pt", scene, rect="dynamic" in exported.name), PRINTED)
        assert out.splitlines()[-1] == f"{len(ours)} boxes, drawn in {tmp_path / 'out.png'}"
        drawn, before = cv2.imread(str(tmp_path / "out.png")), cv2.imread(str(scene))
        assert drawn.shape == before.shape
        assert (drawn != before).any() == bool(ours)
        boxes += len(ours)
    assert boxes > 3


def test_the_script_needs_neither_torch_nor_this_package(exported: Path, scenes: list[Path], tmp_path: Path) -> None:
    code = (
        f"import sys, runpy; sys.argv = ['predict_onnx.py', 'model={exported / 'last.onnx'}', 'source={scenes[0]}', "
        f"'save={tmp_path / 'out.png'}']; runpy.run_path({str(SCRIPT)!r}, run_name='__main__')\n"
        "print(sorted({'torch', 'ultralytics', 'yolo_focal', 'onnx'} & set(sys.modules)))"
    )
    assert run(sys.executable, "-c", code, cwd=tmp_path).stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "model= is missing: python scripts/predict_onnx.py model=best.onnx source=image.jpg engine=ort"),
        (["model=no.onnx", "source=a.jpg"], "model=no.onnx: no such file; make it with: yolo export"),
        (["model={onnx}", "source=no.jpg"], "source=no.jpg: no image can be read there; write the path of a JPEG"),
        (["model={onnx}", "source={image}", "engine=tvm"], "engine=tvm: write engine=ort or engine=opencv"),
        (["model={onnx}", "source={image}", "conf=high"], "conf=high: write a number, such as conf=0.25"),
        (
            ["modle={onnx}"],
            "modle={onnx}: unknown argument; write key=value, key one of conf, engine, imgsz",
        ),
        (["--help"], "--help: unknown argument; write key=value, key one of conf"),
        (["model={onnx}", "source={image}", "save=no/such/out.png"], "save=no/such/out.png: the image cannot be"),
    ],
)
def test_wrong_arguments_are_named(args: list[str], message: str, exported: Path, scenes: list[Path]) -> None:
    known = {"onnx": exported / "last.onnx", "image": scenes[0]}
    done = run(sys.executable, SCRIPT, *(a.format(**known) for a in args), cwd=exported, check=False)
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1].startswith(message.format(**known))


def test_imx_goes_by_a_number_of_modules_that_a_focal_model_has_not() -> None:
    imx = pytest.importorskip("ultralytics.utils.export.imx", reason="an older release of Ultralytics")
    known = imx.MCT_CONFIG["YOLOv8"]["detect"]["n_layers"]
    stock, focal = (
        len([*ultralytics.YOLO(name).model.fuse(verbose=False).modules()])
        for name in ("yolov8n.yaml", "yolov8n-focal.yaml")
    )
    assert stock in known and focal not in known
    page = (REPO / "docs" / "export.md").read_text(encoding="utf-8")
    assert f"{stock} for YOLOv8n and 238 for YOLO11n, while YOLOv8n-focal has {focal}" in page
