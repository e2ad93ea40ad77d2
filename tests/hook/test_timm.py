"""Models with a backbone of timm under the stock command: trained, resumed, exported, in several processes."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import cpu_processes
import pytest
import timm
import torch
import ultralytics
from caches import put_in_cache
from detections import PHOTOS, blob
from focalnets import scrambled
from lifecycle import SMALL, WEIGHTS
from support import COMMAND, YOLO, python, run
from ultralytics.nn.autobackend import AutoBackend

from yolo_focal.backbones import Timm
from yolo_focal.hook import configs

pytestmark = pytest.mark.slow
RESNET = "resnet10t"
NO_TIMM = "import sys; sys.modules['timm'] = None; "  # as if it were not installed


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an interrupted training that started from timm's weights, in a cache that is gone by now."""
    folder = tmp_path_factory.mktemp("timm")
    text = (configs.folder() / "yolov8-timm.yaml").read_text("utf-8")
    (folder / "yolov8-own.yaml").write_text(re.sub(r"\{n: .*\}, False", f"{RESNET}, True", text), "utf-8")
    put_in_cache(folder / "cache", RESNET, scrambled(timm.create_model(RESNET)))
    run(
        *(YOLO, "train", "model=yolov8n-own.yaml", *SMALL, "epochs=2", "save_period=1"),
        cwd=folder,
        HF_HUB_OFFLINE="1",
        HF_HUB_CACHE=str(folder / "cache"),
    )
    return folder


def test_a_training_goes_on_without_timms_weights(trained: Path) -> None:
    """The checkpoint's own are enough, and `best.pt` starts another training."""
    offline = {"HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(trained / "none")}
    run(
        YOLO,
        "train",
        f"model={WEIGHTS}/best.pt",
        *SMALL,
        "epochs=1",
        f"project={trained / 'again'}",
        cwd=trained,
        **offline,
    )
    out = run(YOLO, "train", f"model={WEIGHTS}/epoch0.pt", "resume=True", cwd=trained, **offline).stdout
    assert "Resuming training" in out and "2/2" in out
    refused = run(YOLO, "val", "model=yolov8n-own.yaml", *SMALL, cwd=trained, check=False, **offline)
    assert (
        f"row 0 (Timm): {RESNET}: timm's weights are not here and could not be downloaded: model.safetensors of "
        "timm/resnet10t.c3_in1k" in refused.stdout
    )


def test_restricted_loading(trained: Path) -> None:
    run(YOLO, "val", f"model={WEIGHTS}/best.pt", *SMALL, cwd=trained, ULTRALYTICS_SAFE_LOAD="1")


def test_an_exported_model_needs_no_timm_and_a_checkpoint_says_that_it_does(trained: Path) -> None:
    run(YOLO, "export", f"model={WEIGHTS}/best.pt", "format=onnx", "dynamic=True", cwd=trained)
    predict = "from ultralytics import YOLO; YOLO('{}', task='detect').predict('{}', imgsz=96, save=True)"
    python(NO_TIMM + predict.format(f"{WEIGHTS}/best.onnx", PHOTOS[0]), cwd=trained)
    out = python(NO_TIMM + predict.format(f"{WEIGHTS}/best.pt", PHOTOS[0]), cwd=trained, check=False)
    assert "ConfigError: this model has a backbone of timm, which is not installed: pip install timm" in out


@pytest.mark.parametrize("engine", ["onnx", "torchscript", "openvino"])
def test_exported_models_compute_what_the_checkpoint_computes(trained: Path, engine: str) -> None:
    if engine == "openvino":
        pytest.importorskip("openvino")
    file = ultralytics.YOLO(trained / WEIGHTS / "best.pt").export(format=engine, imgsz=320)
    image = torch.from_numpy(blob(PHOTOS[0]))
    theirs, ours = (predictions(Path(one), image) for one in (trained / WEIGHTS / "best.pt", file))
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-2)


def test_processes_that_share_each_batch(trained: Path) -> None:
    out = run(
        *(COMMAND, "compare", "models=yolov8n-own.yaml,yolov8n-timm.yaml", "seeds=1", "device=0,1", "gpus_per_run=2"),
        *("data=shapes.yaml", "imgsz=64", "batch=8", "fraction=0.1", "plots=False", "epochs=1", "pretrained=False"),
        cwd=trained,
        YOLO_FOCAL_MODULES=cpu_processes.__file__,
        HF_HUB_OFFLINE="1",
        HF_HUB_CACHE=str(trained / "cache"),
    ).stdout
    assert "2 of 2 runs have finished" in out


@pytest.mark.parametrize("name", ["yolov8n-timm", "yolo11n-timm", "yolo26n-timm", "yolov8n-timm-cls"])
def test_the_packaged_models_train(name: str, tmp_path: Path) -> None:
    data = "data=shapes.yaml"
    if name.endswith("cls"):
        run(COMMAND, "shapes-cls", cwd=tmp_path)
        data = "data=shapes-cls"
    out = run(YOLO, "train", f"model={name}.yaml", *SMALL[1:], data, "epochs=1", cwd=tmp_path).stdout
    small = "mobilenetv4_conv_small"
    assert f"yolo-focal: {small} starts from random weights; write ['{small}', True] in its row for those of" in out
    checkpoint = next(tmp_path.rglob("best.pt"))
    assert isinstance(ultralytics.YOLO(checkpoint).model.model[0], Timm)


def predictions(file: Path, image: torch.Tensor) -> torch.Tensor:
    """Return what a model computes of an image before boxes are chosen, which equal scores would put in any order."""
    if file.name.endswith("_openvino_model"):  # in float32, where Ultralytics leaves it the processor's bfloat16
        core = importlib.import_module("openvino").Core()
        network = core.compile_model(next(file.glob("*.xml")), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        return torch.from_numpy(network(image.numpy())[0])
    out = AutoBackend(str(file), torch.device("cpu"))(image)
    return out[0] if isinstance(out, (list, tuple)) else out
