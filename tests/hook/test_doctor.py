"""`yolo-focal doctor`, and the commands that hand over to Ultralytics with the hook active."""

from __future__ import annotations

import inspect
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import ultralytics
from support import COMMAND, YOLO, environment, further, run
from torch import nn

from yolo_focal.hook import syntax
from yolo_focal.hook.doctor import _interpreter as interpreter_of
from yolo_focal.hook.modules import registry


def doctor(cwd: Path, **env: str) -> tuple[int, list[str], list[str]]:
    """Return the doctor's exit status, findings and problems."""
    env = {"PATH": os.pathsep.join([str(Path(YOLO).parent), os.environ["PATH"]]), **env}
    done = subprocess.run(
        [COMMAND, "doctor"], cwd=cwd, env=environment(**env), capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout.splitlines(), done.stderr.splitlines()


def test_all_is_well(tmp_path: Path) -> None:
    status, lines, problems = doctor(tmp_path)
    versions = f"ultralytics {ultralytics.__version__}, torch {torch.__version__.partition('+')[0]}"
    assert (status, problems) == (0, [])
    assert versions in lines[0]
    assert lines[1] == f"yolo: {YOLO}"
    assert Path(lines[2].partition("its Python: ")[2]).samefile(sys.executable)
    assert lines[3:6] == [
        "hook: active, started by torch's entry points",
        "hook in a child process: active, started by torch's entry points",
        f"tested with Ultralytics {syntax.TESTED}; here is {ultralytics.__version__} in "
        f"{Path(ultralytics.__file__).parent}",
    ]
    assert lines[6].startswith("registered: FocalModulation from yolo_focal.focal (")
    names = {re.match(r"registered: (\w+) from yolo_focal\.[\w.]+ \(", line)[1] for line in lines[6:-1]}
    assert names == {"Classifier", *filter(registry.is_built_in, registry.registered())}
    assert lines[-1] == "The stock `yolo` knows the registered modules."


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
        ({"YOLO_FOCAL_AUTOLOAD": "Off"}, f"YOLO_FOCAL_AUTOLOAD=Off switches the hook off: {INSTEAD}"),
        (
            {"YOLO_FOCAL_MODULES": "absent"},
            "YOLO_FOCAL_MODULES: absent: there is no such file in {cwd}, and no installed module",
        ),
        ({"PATH": "/nowhere"}, "there is no `yolo` on the PATH: activate the environment that Ultralytics is in"),
        *further(
            (
                {"TORCH_DEVICE_BACKEND_AUTOLOAD": "0"},
                f"TORCH_DEVICE_BACKEND_AUTOLOAD=0 keeps torch from starting the hook: {INSTEAD}",
            )
        ),
    ],
)
def test_what_is_wrong_is_said_with_what_to_do(env: dict[str, str], problem: str, tmp_path: Path) -> None:
    status, _, problems = doctor(tmp_path, **env)
    assert (status, problems) == (1, [f"problem: {problem.replace('{cwd}', str(tmp_path))}"])


def test_a_yolo_of_another_environment_is_named(tmp_path: Path) -> None:
    other = tmp_path / "bin"
    other.mkdir()
    interpreter = other / "python"
    interpreter.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "$@"\n')  # a Python that sees no installed packages
    (other / "yolo").write_text(f"#!{interpreter}\n")
    for file in (interpreter, other / "yolo"):
        file.chmod(0o755)
    status, lines, problems = doctor(tmp_path, PATH=os.pathsep.join([str(other), os.environ["PATH"]]))
    assert (status, lines[1:]) == (1, [f"yolo: {other / 'yolo'}", f"its Python: {interpreter}"])
    assert problems == [
        f"problem: {interpreter} cannot import Ultralytics with yolo-focal (ModuleNotFoundError: No module named "
        f"'ultralytics'): run `{interpreter} -m pip install yolo-focal`, or activate the environment where both are"
    ]


@pytest.mark.slow
def test_modules_and_changes_of_others_are_named(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(BLOCKS)
    (tmp_path / "wrap.py").write_text(WRAP)
    status, lines, problems = doctor(tmp_path, YOLO_FOCAL_MODULES="own,wrap")
    assert (status, problems) == (0, [])
    assert f"registered: Own from own ({tmp_path / 'own.py'})" in lines
    assert f"registered: Pass from {nn.Identity.__module__} ({inspect.getfile(nn.Identity)})" in lines
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


@pytest.mark.slow
def test_a_fork_with_a_module_of_that_name_keeps_it(edited: Path, tmp_path: Path) -> None:
    path = {"PYTHONPATH": os.pathsep.join([str(edited), *sys.path])}
    status, lines, problems = doctor(tmp_path, **path)
    assert (status, problems) == (0, [])
    file = edited / "ultralytics" / "nn" / "tasks.py"
    assert [line for line in lines if line.startswith("Ultralytics: ")] == [
        "Ultralytics: ultralytics.nn.tasks has FocalModulation of its own (ultralytics.nn.tasks), which rows of that "
        "name get",
        f"Ultralytics: {file} is not as it was installed: it was edited",
    ]
    out = run(YOLO, "train", "model=yolov8n-focal.yaml", *SMALL, cwd=tmp_path, **path).stdout
    assert "ultralytics.nn.tasks.FocalModulation " in out


SMALL = ("data=shapes.yaml", "imgsz=64", "batch=8", "fraction=0.1", "workers=0", "plots=False", "epochs=1")


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_trainer_of_ones_own_trains_it(tmp_path: Path) -> None:
    arguments: dict[str, Any] = {"data": "shapes.yaml", "imgsz": 64, "batch": 8, "fraction": 0.1, "epochs": 1}
    code = TRAINER.format(arguments=f"workers=0, plots=False, **{arguments}")
    out = run(sys.executable, "-c", code, cwd=tmp_path).stdout
    assert "my trainer" in out and "yolo_focal.focal.FocalModulation " in out


@pytest.mark.slow
def test_a_file_that_the_stock_command_cannot_import_is_found_out(tmp_path: Path) -> None:
    for text, reason in (
        ("import nothing_at_all", "ModuleNotFoundError: No module named 'nothing_at_all'"),
        ("from ultralytics import NotThere", "ImportError: cannot import name 'NotThere' from 'ultralytics' "),
    ):
        (tmp_path / "my_blocks.py").write_text(text)
        status, _, (problem,) = doctor(tmp_path, YOLO_FOCAL_MODULES="my_blocks")
        assert (status, problem.startswith(f"problem: YOLO_FOCAL_MODULES: my_blocks: {reason}")) == (1, True)
    (tmp_path / "my_blocks.py").write_text(f"from ultralytics import YOLO\n{BLOCKS}")
    assert doctor(tmp_path, YOLO_FOCAL_MODULES="my_blocks")[::2] == (0, [])


@pytest.mark.slow
def test_what_lies_in_the_folder_does_not_mislead_it(tmp_path: Path) -> None:
    (tmp_path / "code.py").write_text("raise RuntimeError('not the standard module')")
    (tmp_path / "ultralytics").mkdir()
    (tmp_path / "ultralytics" / "__init__.py").write_text("raise RuntimeError('a clone')")
    status, lines, problems = doctor(tmp_path)
    assert (status, problems) == (0, [])
    assert f"note: Python in this folder imports {tmp_path / 'ultralytics'} instead, which `yolo` does not" in lines


SHELL = """#!/bin/sh
'''exec' {python} "$0" "$@"
' '''
import sys
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a folder", "folder"])
def test_the_python_that_pip_names_in_a_line_of_shell(name: str, tmp_path: Path) -> None:
    """pip writes a script so where the interpreter's path is long or has a space."""
    folder = tmp_path / name / "bin"
    folder.mkdir(parents=True)
    interpreter = folder / "python3.11"
    interpreter.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    (folder / "yolo").write_text(SHELL.format(python=f'"{interpreter}"' if " " in name else interpreter))
    for file in (interpreter, folder / "yolo"):
        file.chmod(0o755)
    status, lines, problems = doctor(tmp_path, PATH=os.pathsep.join([str(folder), os.environ["PATH"]]))
    assert (status, problems) == (0, [])
    assert lines[2] == f"its Python: {interpreter}"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"Scripts/yolo.exe": b"MZ\x90\0binary", "Scripts/python.exe": b""}, "Scripts/python.exe"),
        ({"Scripts/yolo.exe": b"MZ\x90\0binary", "python.exe": b""}, "python.exe"),
        ({"bin/yolo": b"#!/usr/bin/env python3\n", "bin/python3": b""}, "python3"),
    ],
)
def test_the_python_of_other_kinds_of_script(files: dict[str, bytes], expected: str, tmp_path: Path) -> None:
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    found = interpreter_of(tmp_path / next(iter(files)))
    assert found == (shutil.which("python3") if expected == "python3" else str(tmp_path / expected))
