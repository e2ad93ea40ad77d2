"""Every command line of the pages' console blocks is run: here, word for word, or where this file says."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import few
import numpy as np
import pytest
import timm
import torch
import ultralytics
from detections import PHOTOS
from pages import PAGES, console_lines
from support import COMMAND, REPO, YOLO, run

# What is not run here, by how a line begins: the file that runs it, or why nothing does.
ELSEWHERE = {
    "pip install -e . && yolo train": "tests/documents/test_quick_start.py",
    "yolo train model=yolov8n-focal.yaml data=shapes.yaml epochs=10": "tests/documents/test_quick_start.py",
    'pip install -e ".[test]" && pytest': ".ci/run",
    "pip install": "an installation: .ci/run makes those of the README and of all extras",
    "pip uninstall": ".ci/run",
    "bash .ci/run": "it runs these tests",
    "pytest": "it runs these tests",
    "mkdocs build --strict": ".ci/run",
    "git clone": "it needs a network",
    "python -m venv": ".ci/run",
    "pre-commit install": "it changes the clone",
    "python scripts/predict_onnx.py": "tests/scripts/test_deploy.py",
    "cmake -S scripts/deploy/cpp": "tests/scripts/test_deploy.py",
    "cd scripts/deploy/web": "tests/scripts/test_deploy.py",
    "yolo export model=best.pt format=openvino quantize=8": "it needs openvino and nncf",
    "python quantize.py": "tests/documents/test_int8.py",
    "yolo val model=best-int8.onnx": "tests/documents/test_int8.py",
    "python scripts/export_matrix.py": "tests/scripts/test_export_matrix.py",
    "python scripts/benchmark.py": "tests/scripts/test_benchmark.py",
    "python scripts/sizes.py": "tests/scripts/test_benchmark.py",
    "python scripts/maintain/version_matrix.py": "it installs other releases of torch",
    "python scripts/experiments/": "an experiment of hours; tests/scripts has what can be run in minutes",
    "yolo-focal adopt ~/their-fork": "tests/hook/forks/test_forks.py",
    "YOLO_FOCAL_MODULES=~/their-fork yolo": "tests/hook/forks/test_forks.py",
    "yolo-focal derive model=yolov8n.pt images=coco128/images": "an experiment on data that are not shipped",
    "yolo-focal derive model=yolov8n.pt images=photos data=coco128.yaml": "an experiment on data that are not shipped",
    "yolo-focal compare data=raccoon.yaml": "an experiment on data that are not shipped",
}
_PROGRAMS = {"yolo": YOLO, "yolo-focal": COMMAND}
# What makes a command short, behind what the page says.
_TRAIN = ("epochs=1", "imgsz=64", "batch=8", "workers=0", "plots=False")
_SHORT = {
    "yolo train": _TRAIN,
    "yolo-focal train": _TRAIN,
    "yolo-focal compare": ("seeds=1", *_TRAIN),
    "yolo val": ("imgsz=64", "workers=0", "plots=False"),
    "yolo export": ("imgsz=64",),
    "yolo predict": ("imgsz=64",),
    "yolo track": ("imgsz=64",),
}


def lines() -> list[str]:
    """Return the command lines of all pages in English, each once, without comments."""
    found = (line for page in PAGES if not page.name.endswith(".zh-CN.md") for line in console_lines(page))
    return [line for line in dict.fromkeys(found) if line]


def elsewhere(line: str) -> str | None:
    """Return what runs a line that is not run here."""
    return next((where for start, where in ELSEWHERE.items() if line.startswith(start)), None)


HERE = [line for line in lines() if elsewhere(line) is None]


def test_every_line_is_run_somewhere() -> None:
    programs = {shlex.split(re.sub(r"^([A-Z_]+=\S+ )+", "", line))[0] for line in HERE}
    assert programs == {*_PROGRAMS}
    assert len(HERE) > 25
    used = {start for start in ELSEWHERE if any(line.startswith(start) for line in lines())}
    assert used == {*ELSEWHERE}
    for where in ELSEWHERE.values():
        if where.startswith(("tests/", ".ci/")):
            assert (REPO / where.partition("; ")[0]).is_file(), where


@pytest.fixture
def prepared(checkpoint: Path, of_task: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the reader's files, by the names that the pages give them."""
    folder = tmp_path / "a folder"
    folder.mkdir()
    monkeypatch.chdir(folder)
    few.draw(folder / "set", train=16, val=8)
    for file in ("my.yaml", "my-data.yaml"):
        (folder / file).write_text(few.yaml_of(folder / "set"))
    for more, name in enumerate("abc"):  # several data sets, none of them another's
        few.draw(folder / "sets" / name, train=8 + more, val=4)
        (folder / f"{name}.yaml").write_text(few.yaml_of(folder / "sets" / name))
    (folder / "photos").mkdir()
    shutil.copy(PHOTOS[0], "photos")
    video = cv2.VideoWriter("video.mp4", cv2.VideoWriter_fourcc(*"mp4v"), 5, (64, 64))
    for _ in range(3):
        video.write(np.zeros((64, 64, 3), np.uint8))
    video.release()
    shutil.copy(of_task("detect"), "yolov8n.pt")
    shutil.copy(checkpoint, "best.pt")
    ultralytics.YOLO("yolo11n.yaml").save("yolo11n.pt")
    run(COMMAND, "new", "my_blocks.py", "name=MyBlock", cwd=folder)
    rows = "backbone: [[-1, 1, Conv, [16, 3, 2]], [-1, 1, MyBlock, []]]\nhead: [[[1], 1, Detect, [nc]]]\n"
    (folder / "my-model.yaml").write_text(f"nc: 4\n{rows}")
    torch.save(timm.create_model("focalnet_tiny_lrf").state_dict(), "tiny.pth")
    return folder


def an_interrupted_training(folder: Path) -> None:
    """Leave a training that was stopped after its first epoch."""
    given = ("model=yolov8n-focal.yaml", "data=my.yaml", *_TRAIN, "epochs=2", "save_period=1")
    run(YOLO, "train", *given, "name=train", "exist_ok=True", cwd=folder)
    weights = folder / "runs/detect/train/weights"
    shutil.copy(weights / "epoch0.pt", weights / "last.pt")


@pytest.mark.slow
def test_the_lines_run_word_for_word(prepared: Path) -> None:
    for line in HERE:
        words = shlex.split(line)
        settings = dict(word.split("=") for word in words if re.match(r"[A-Z_]+=", word))
        words = [word for word in words if not re.match(r"[A-Z_]+=", word)]
        short = _SHORT.get(" ".join(words[:2]), ())
        comparisons = len(list(prepared.glob("runs/compare/*")))
        if words[:2] == ["yolo-focal", "compare"] and comparisons:  # each page's is a reader's first
            short = (*short, f"name=compare{comparisons}")
        if "status" in words:
            short = ()
        if "resume=True" in words:
            an_interrupted_training(prepared)
            short = ()
        cwd = prepared
        if words[:3] == ["yolo-focal", "derive", "model=my.yaml"]:  # a model there, data elsewhere
            cwd = prepared / "models"
            cwd.mkdir(exist_ok=True)
            run(COMMAND, "derive", "model=yolo11n.yaml", "save=my.yaml", cwd=cwd)
        # A name is downloaded: a file of such weights stands for it.
        words = [word.replace("weights=focalnet_tiny_lrf.ms_in1k", "weights=tiny.pth") for word in words]
        run(_PROGRAMS[words[0]], *words[1:], *short, cwd=cwd, YOLO_OFFLINE="1", **settings)
