"""The stock `yolo` command, each mode in a process in which nobody imported anything."""

from __future__ import annotations

import csv
import os
import pickletools
import re
import signal
import subprocess
import time
import zipfile
from pathlib import Path

import cv2
import pytest
import torch
import ultralytics
from support import YOLO, environment, python, run
from ultralytics.utils import YAML
from workers import built_by_a_spawned_worker, train_by_the_data_parallel_script

ASSETS = Path(ultralytics.__file__).parent / "assets"
SMALL = ("data=shapes.yaml", "imgsz=64", "batch=8", "fraction=0.2", "workers=0", "plots=False")
TUNE = "data='shapes.yaml', imgsz=64, batch=8, fraction=0.2, workers=0, plots=False"


def test_train_leaves_what_ultralytics_always_leaves(trained: Path, checkpoint: Path) -> None:
    folder = checkpoint.parent.parent
    assert {"args.yaml", "results.csv", "weights"} <= {p.name for p in folder.iterdir()}
    assert YAML.load(folder / "args.yaml")["model"] == "yolov8n-focal.yaml"
    assert [p.name for p in trained.iterdir()] == ["runs"]


def test_the_checkpoint_names_the_class_by_its_public_path(checkpoint: Path) -> None:
    with zipfile.ZipFile(checkpoint) as archive:
        pickled = next(archive.read(name) for name in archive.namelist() if name.endswith("/data.pkl"))
    named = {argument for opcode, argument, _ in pickletools.genops(pickled) if opcode.name == "GLOBAL"}
    assert {name for name in named if "focal" in name} == {"yolo_focal.focal FocalModulation"}


def map50(printed: str) -> float:
    """Read mAP50 off the line that `yolo val` prints for all classes: images, boxes, precision, recall, mAP50."""
    return float(re.findall(r"all\s+120\s+\d+\s+\S+\s+\S+\s+(\S+)", printed)[-1])


def test_val(checkpoint: Path, tmp_path: Path) -> None:
    done = run(YOLO, "val", f"model={checkpoint}", "data=shapes.yaml", "imgsz=128", "workers=0", cwd=tmp_path)
    assert map50(done.stdout) > 0.5


@pytest.mark.slow
def test_val_under_restricted_loading(checkpoint: Path, tmp_path: Path) -> None:
    command = (YOLO, "val", f"model={checkpoint}", "data=shapes.yaml", "imgsz=128", "workers=0")
    done = run(*command, cwd=tmp_path, ULTRALYTICS_SAFE_LOAD="1")
    assert map50(done.stdout) > 0.5


def test_restricted_loading_in_python(checkpoint: Path, tmp_path: Path) -> None:
    code = (
        "from ultralytics.nn.tasks import torch_safe_load\n"
        f"model = torch_safe_load({str(checkpoint)!r}, safe_only=True)[0]['model']\n"
        "print(type(model.model[9]).__name__)"
    )
    assert python(code, tmp_path).splitlines()[-1] == "FocalModulation"


def test_predict_a_folder_of_images(checkpoint: Path, tmp_path: Path) -> None:
    done = run(YOLO, "predict", f"model={checkpoint}", f"source={ASSETS}", "imgsz=64", cwd=tmp_path)
    assert {p.name for p in (tmp_path / "runs/detect/predict").iterdir()} == {"bus.jpg", "zidane.jpg"}, done.stdout


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five frames that wander over a photograph."""
    file = tmp_path_factory.mktemp("video") / "bus.mp4"
    writer = cv2.VideoWriter(str(file), cv2.VideoWriter_fourcc(*"mp4v"), 10, (320, 320))
    image = cv2.resize(cv2.imread(str(ASSETS / "bus.jpg")), (360, 360))
    for shift in range(0, 40, 8):
        writer.write(image[shift : shift + 320, shift : shift + 320])
    writer.release()
    return file


@pytest.mark.slow
def test_track_a_video(checkpoint: Path, video: Path, tmp_path: Path) -> None:
    done = run(YOLO, "track", f"model={checkpoint}", f"source={video}", "imgsz=64", "conf=0.01", cwd=tmp_path)
    assert "video 1/1 (frame 5/5)" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("solution", ["count", "heatmap", "speed", "queue", "trackzone"])
def test_solutions(solution: str, checkpoint: Path, video: Path, tmp_path: Path) -> None:
    run(YOLO, "solutions", solution, f"model={checkpoint}", f"source={video}", "conf=0.01", cwd=tmp_path)
    assert cv2.VideoCapture(str(tmp_path / f"runs/solutions/exp/{solution}.avi")).get(cv2.CAP_PROP_FRAME_COUNT) == 5


@pytest.mark.slow
def test_benchmark(checkpoint: Path, tmp_path: Path) -> None:
    arguments = ("benchmark", f"model={checkpoint}", "data=shapes.yaml", "imgsz=128", "format=onnx")
    out = run(YOLO, *arguments, cwd=tmp_path).stdout
    score = re.search(r"ONNX\s+✅\s+\S+\s+(\S+)", out)
    assert score is not None, out[-3000:]
    assert float(score[1]) > 0.3


@pytest.mark.slow
def test_tune(tmp_path: Path) -> None:
    code = f"from ultralytics import YOLO; YOLO('yolov8n-focal.yaml').tune(iterations=2, epochs=1, {TUNE})"
    assert "2/2 iterations complete" in python(code, tmp_path)
    model = ultralytics.YOLO(tmp_path / "runs/detect/tune/weights/best.pt").model
    assert type(model.model[9]).__name__ == "FocalModulation"


@pytest.mark.slow
def test_resume_after_a_kill_goes_on_at_the_next_epoch(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [YOLO, "train", "model=yolov8n-focal.yaml", *SMALL, "epochs=4", "save_period=1"],
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    weights = tmp_path / "runs/detect/train/weights"
    deadline = time.monotonic() + 240
    while not (weights / "epoch1.pt").exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    done = torch.load(weights / "last.pt", weights_only=False)["epoch"]  # counted from 0
    out = run(YOLO, "train", "resume=True", f"model={weights / 'last.pt'}", cwd=tmp_path).stdout
    assert f"from epoch {done + 2} to 4 total epochs" in out
    with (tmp_path / "runs/detect/train/results.csv").open() as file:
        assert [row["epoch"].strip() for row in csv.DictReader(file)] == ["1", "2", "3", "4"]


@pytest.mark.slow
def test_the_script_of_a_data_parallel_worker_trains(tmp_path: Path) -> None:
    train_by_the_data_parallel_script("yolov8n-focal.yaml", tmp_path)


@pytest.mark.slow
def test_a_spawned_worker_builds_the_model(tmp_path: Path) -> None:
    assert built_by_a_spawned_worker("yolov8n-focal.yaml", tmp_path)[9] == "FocalModulation"


@pytest.mark.parametrize("pretrained", ["yolov8n.yaml", "yolov8n-focal.yaml"])
def test_weights_of_another_model_are_taken_over(pretrained: str, tmp_path: Path) -> None:
    """Every tensor but the replaced layer's has the same name as in stock YOLOv8."""
    code = (
        "import torch\nfrom ultralytics import YOLO\n"
        f"YOLO({pretrained!r}).save('source.pt'); source = YOLO('source.pt')\n"
        "focal = YOLO('yolov8n-focal.yaml').load('source.pt')\n"
        "a, b = source.model.state_dict(), focal.model.state_dict()\n"
        "print(sorted({k.split('.')[1] for k in b if k not in a or not torch.equal(a[k], b[k])}))"
    )
    out = python(code, tmp_path)
    fresh = "model.9 (FocalModulation) starts fresh: the weights have nothing for it\n"
    assert (out.splitlines()[-1], out.count(fresh)) == (("['9']", 1) if pretrained == "yolov8n.yaml" else ("[]", 0))


@pytest.mark.slow
def test_the_log_of_a_training_says_which_layer_starts_fresh(tmp_path: Path) -> None:
    python("from ultralytics import YOLO; YOLO('yolov8n.yaml').save('yolov8n.pt')", tmp_path)
    arguments = ("model=yolov8n-focal.yaml", "pretrained=yolov8n.pt", *SMALL, "epochs=1")
    out = run(YOLO, "train", *arguments, cwd=tmp_path).stdout
    assert "model.9 (FocalModulation) starts fresh: the weights have nothing for it\nTransferred " in out


def test_copies_of_a_model_that_has_just_run_with_gradients(tmp_path: Path) -> None:
    code = """
import copy, io, pickle, torch
from ultralytics import YOLO
model = YOLO("yolov8n-focal.yaml").model.train()
images = torch.rand(2, 3, 64, 64, requires_grad=True)
features = model.model[:10](images)
features.sum().backward()
model(images)  # its graph is alive while the copies are made
twins = [copy.deepcopy(model), pickle.loads(pickle.dumps(model))]
torch.save(model, "model.pt")
twins.append(torch.load("model.pt", weights_only=False))
x = torch.rand(1, 3, 64, 64)
expected = model.eval()(x)[0]
print([torch.equal(twin.eval()(x)[0], expected) for twin in twins])
"""
    assert python(code, tmp_path).splitlines()[-1] == "[True, True, True]"
