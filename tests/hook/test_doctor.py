"""`yolo-focal doctor`, and the commands that hand over to Ultralytics with the hook active."""

from __future__ import annotations

import inspect
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import ultralytics
from conftest import COMMAND, YOLO, environment, run
from torch import nn

from yolo_focal import parser


def doctor(cwd: Path, **env: str) -> tuple[int, list[str], list[str]]:
    """Return the doctor's exit status, findings and problems."""
    env = {"PATH": os.pathsep.join([str(Path(YOLO).parent), os.environ["PATH"]]), **env}
    done = subprocess.run(
        [COMMAND, "doctor"], cwd=cwd, env=environment(**env), capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout.splitlines(), done.stderr.splitlines()


def test_all_is_well(tmp_path: Path) -> None:
    status, lines, wrong = doctor(tmp_path)
    versions = f"ultralytics {ultralytics.__version__}, torch {torch.__version__.partition('+')[0]}"
    assert (status, wrong) == (0, [])
    assert versions in lines[0]
    assert lines[1] == f"yolo: {YOLO}"
    assert Path(lines[2].partition("its Python: ")[2]).samefile(sys.executable)
    assert lines[3:6] == [
        "hook: active, started by torch's entry points",
        "hook in a child process: active, started by torch's entry points",
        f"tested with Ultralytics {parser.TESTED}; here is {ultralytics.__version__}",
    ]
    assert lines[6].startswith("registered: FocalModulation from yolo_focal.focal (")
    assert lines[7:] == ["The stock `yolo` knows the registered modules."]


INSTEAD = "unset it, or run `yolo-focal train ...` instead of `yolo train ...`"
BLOCKS = """
import torch, yolo_focal

@yolo_focal.register
class Own(torch.nn.Conv2d): ...

yolo_focal.register(torch.nn.Identity, name="Pass")
"""
WRAP = """
from ultralytics.nn import tasks
inner = tasks.parse_model
def parse_model(*args, **kwargs):
    return inner(*args, **kwargs)
tasks.parse_model = parse_model
"""


@pytest.mark.parametrize(
    ("env", "problem"),
    [
        ({"YOLO_FOCAL_AUTOLOAD": "0"}, f"YOLO_FOCAL_AUTOLOAD=0 switches the hook off: {INSTEAD}"),
        (
            {"TORCH_DEVICE_BACKEND_AUTOLOAD": "0"},
            f"TORCH_DEVICE_BACKEND_AUTOLOAD=0 keeps torch from starting the hook: {INSTEAD}",
        ),
        (
            {"YOLO_FOCAL_MODULES": "absent"},
            "YOLO_FOCAL_MODULES: absent cannot be imported: ModuleNotFoundError: No module named 'absent'",
        ),
        ({"PATH": "/nowhere"}, "there is no `yolo` on the PATH: activate the environment that Ultralytics is in"),
    ],
)
def test_what_is_wrong_is_said_with_what_to_do(env: dict[str, str], problem: str, tmp_path: Path) -> None:
    status, _, wrong = doctor(tmp_path, **env)
    assert (status, wrong) == (1, [f"problem: {problem}"])


def test_a_yolo_of_another_environment_is_named(tmp_path: Path) -> None:
    other = tmp_path / "bin"
    other.mkdir()
    interpreter = other / "python"
    interpreter.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')  # a Python that sees no installed packages
    (other / "yolo").write_text(f"#!{interpreter}\n")
    for file in (interpreter, other / "yolo"):
        file.chmod(0o755)
    status, lines, wrong = doctor(tmp_path, PATH=os.pathsep.join([str(other), os.environ["PATH"]]))
    assert (status, lines[1:]) == (1, [f"yolo: {other / 'yolo'}", f"its Python: {interpreter}"])
    assert wrong == [
        f"problem: {interpreter} cannot import Ultralytics with yolo-focal (ModuleNotFoundError: No module named "
        f"'ultralytics'): run `{interpreter} -m pip install yolo-focal`, or activate the environment where both are"
    ]


def test_modules_and_changes_of_others_are_named(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(BLOCKS)
    (tmp_path / "wrap.py").write_text(WRAP)
    status, lines, wrong = doctor(tmp_path, YOLO_FOCAL_MODULES="own,wrap")
    assert (status, wrong) == (0, [])
    assert f"registered: Own from own ({tmp_path / 'own.py'})" in lines
    assert (
        f"registered: Pass from {nn.Identity.__module__} ({inspect.getfile(nn.Identity)}), registered by own" in lines
    )
    assert f"Ultralytics: ultralytics.nn.tasks.parse_model is wrapped ({tmp_path / 'wrap.py'}, line 4)" in lines


@pytest.fixture(scope="module")
def edited(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of Ultralytics edited by hand as the tutorials have it, with a FocalModulation of its own."""
    folder = tmp_path_factory.mktemp("edited")
    package = Path(ultralytics.__file__).parent
    shutil.copytree(package, folder / "ultralytics")
    name = f"ultralytics-{ultralytics.__version__}.dist-info"
    shutil.copytree(package.parent / name, folder / name)
    file = folder / "ultralytics" / "nn" / "tasks.py"
    text = file.read_text(encoding="utf-8")
    module = (
        "class FocalModulation(torch.nn.Module):\n    def __init__(self, c1):\n        super().__init__()\n"
        "        self.own = torch.nn.Conv2d(c1, c1, 1)\n\n    def forward(self, x):\n        return self.own(x)\n\n\n"
    )
    text = text.replace("def parse_model(", f"{module}def parse_model(", 1)
    branch = "        elif m is FocalModulation:\n            c2 = ch[f]\n            args = [c2]\n"
    before, default, after = text.rpartition("        else:\n            c2 = ch[f]\n")
    file.write_text(before + branch + default + after, encoding="utf-8")
    return folder


def test_a_fork_with_a_module_of_that_name_keeps_it(edited: Path, tmp_path: Path) -> None:
    path = {"PYTHONPATH": os.pathsep.join([str(edited), *sys.path])}
    status, lines, wrong = doctor(tmp_path, **path)
    assert (status, wrong) == (0, [])
    file = edited / "ultralytics" / "nn" / "tasks.py"
    assert [line for line in lines if line.startswith("Ultralytics: ")] == [
        "Ultralytics: ultralytics.nn.tasks has a FocalModulation of its own (ultralytics.nn.tasks), which rows of that "
        "name get",
        f"Ultralytics: {file} is not as it was installed: it was edited",
    ]
    out = run(YOLO, "train", "model=yolov8n-focal.yaml", *SMALL, cwd=tmp_path, **path).stdout
    assert "ultralytics.nn.tasks.FocalModulation " in out


SMALL = ("data=shapes.yaml", "imgsz=64", "batch=8", "fraction=0.1", "workers=0", "plots=False", "epochs=1")


@pytest.mark.parametrize("switch", ["YOLO_FOCAL_AUTOLOAD", "TORCH_DEVICE_BACKEND_AUTOLOAD"])
def test_the_command_hands_over_with_the_hook_active(switch: str, tmp_path: Path) -> None:
    run(COMMAND, "train", "model=yolov8n-focal.yaml", *SMALL, cwd=tmp_path, **{switch: "0"})
    assert (tmp_path / "runs/detect/train/weights/best.pt").exists()


def test_what_neither_command_knows_is_refused(tmp_path: Path) -> None:
    done = run(COMMAND, "trian", cwd=tmp_path, check=False)
    assert done.returncode == 1
    assert done.stdout.startswith("yolo-focal trian: no such command")


TRAINER = """
from ultralytics import YOLO
from ultralytics.models.yolo.detect import DetectionTrainer

class Mine(DetectionTrainer):
    def get_model(self, cfg=None, weights=None, verbose=True):
        print("my trainer")
        return super().get_model(cfg, weights, verbose)

YOLO("yolov8n-focal.yaml").train(trainer=Mine, {arguments})
"""


def test_a_trainer_of_ones_own_trains_it(tmp_path: Path) -> None:
    arguments: dict[str, Any] = {"data": "shapes.yaml", "imgsz": 64, "batch": 8, "fraction": 0.1, "epochs": 1}
    code = TRAINER.format(arguments=f"workers=0, plots=False, **{arguments}")
    out = run(sys.executable, "-c", code, cwd=tmp_path).stdout
    assert "my trainer" in out and "yolo_focal.focal.FocalModulation " in out
