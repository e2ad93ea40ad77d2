"""The `yolo-focal` command itself: what it says of wrong words, missing keys and Ctrl-C."""

from __future__ import annotations

import platform
import shutil
import signal
import subprocess
import time
from importlib.metadata import version
from pathlib import Path

import pytest
from support import COMMAND, environment, further, python, run

from yolo_focal import cli


@pytest.mark.parametrize("word", ["version", "--version", "-v"])
def test_the_versions_in_one_line(word: str, tmp_path: Path) -> None:
    names = ("yolo-focal", "ultralytics", "torch")
    versions = ", ".join([*(f"{name} {version(name)}" for name in names), f"Python {platform.python_version()}"])
    assert run(COMMAND, word, cwd=tmp_path).stdout == f"{versions}\n"


def test_a_package_without_metadata_is_told_apart_from_a_missing_one(tmp_path: Path) -> None:
    code = """
import importlib.metadata, importlib.util, sys
from yolo_focal import cli

def unknown(name):
    raise importlib.metadata.PackageNotFoundError(name)

cli.version = unknown
cli.importlib.util.find_spec = lambda name: name == "yolo_focal"
sys.argv = ["yolo-focal", "version"]
cli.main()
print("torch" in sys.modules)
"""
    first, second = python(code, tmp_path).splitlines()
    expected = "yolo-focal (installed without its metadata), ultralytics (not installed), torch (not installed), "
    assert first.startswith(f"{expected}Python 3.")
    assert second == "False"


def test_the_help_has_every_command(tmp_path: Path) -> None:
    lines = run(COMMAND, "help", cwd=tmp_path).stdout.splitlines()
    listed = {line.split()[1] for line in lines if line.startswith("yolo-focal ")}
    assert {"version", *(name.split()[0] for name in cli._COMMANDS)} < listed


def test_a_reader_that_has_enough_is_no_error(tmp_path: Path) -> None:
    done = run("bash", "-c", f"'{COMMAND}' help 2> errors | true; '{COMMAND}' version 2>> errors | true", cwd=tmp_path)
    assert done.stdout == "" and (tmp_path / "errors").read_text() == ""


def test_data_that_cannot_be_downloaded(checkpoint: Path, tmp_path: Path) -> None:
    lines = ("path: nothing", "train: a", "val: b", "names: [c]", "download: http://127.0.0.1:9/set.zip")
    (tmp_path / "my.yaml").write_text("\n".join(lines))
    given = ("derive", f"model={checkpoint}", "after=9", "with=C2Focal", "data=my.yaml", "save=twin.pt")
    done = run(COMMAND, *given, cwd=tmp_path, check=False)
    last = done.stdout.splitlines()[-1]
    assert done.returncode == 1 and "Traceback" not in done.stdout
    assert last.startswith("yolo-focal derive: ") and "Download failure for http://127.0.0.1:9/set.zip" in last
    assert last.endswith(" Put the files there by hand, or try again with a network")
    assert not (tmp_path / "twin.pt").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["compare"],
            "yolo-focal compare: data= and models= are missing, such as data=my.yaml "
            "models=yolov8n.yaml,yolov8n-focal.yaml",
        ),
        (["visualize", "model=a.pt"], "yolo-focal visualize: source= is missing, such as source=photos/"),
        (["visualize"], "yolo-focal visualize: model= and source= are missing, such as model=best.pt source=photos/"),
        (
            ["visualize", "modle=a.pt"],
            "yolo-focal visualize: modle=a.pt: write key=value, with model=, source=, layer= (did you mean model?)",
        ),
        (["copy-cfg", "cfg"], "yolo-focal copy-cfg: cfg: write key=value, with dir="),
    ],
)
def test_wrong_arguments_are_named(arguments: list[str], message: str, tmp_path: Path) -> None:
    done = run(COMMAND, *arguments, cwd=tmp_path, check=False)
    assert (done.returncode, done.stdout) == (1, f"{message}\n")


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("yolov8n-focl.yaml", "'yolov8n-focl.yaml' does not exist; did you mean yolov8n-focal.yaml, "),
        *further(
            ("yolo11s-focal-sg.yaml", "'yolo11s-focal-sg.yaml' does not exist; did you mean yolo11s-focal-seg.yaml, ")
        ),
        (
            "yolov8n-focal-seg.pt",
            "'yolov8n-focal-seg.pt' does not exist: weights of focal models are not published. Make them from "
            "yolov8n-seg.pt or a checkpoint of yours: yolo-focal derive model=yolov8n-seg.pt images=FOLDER "
            "save=yolov8n-focal-seg.pt",
        ),
        (
            "yolov8n-c2focal.pt",
            "'yolov8n-c2focal.pt' does not exist: weights of focal models are not published. Make them from yolov8n.pt "
            "or a checkpoint of yours: yolo-focal derive model=yolov8n.pt after=SPPF with=C2Focal "
            "save=yolov8n-c2focal.pt",
        ),
    ],
)
def test_a_model_that_does_not_exist_is_told_apart_from_what_does(model: str, message: str, tmp_path: Path) -> None:
    done = run(COMMAND, "predict", f"model={model}", "source=.", cwd=tmp_path, check=False)
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1].startswith(message)


def test_ctrl_c_ends_in_one_line(tmp_path: Path) -> None:
    for _ in range(5):  # on a busy machine the command may end before it is interrupted
        process = subprocess.Popen(
            [COMMAND, "shapes-cls"], cwd=tmp_path, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        deadline = time.monotonic() + 60
        while process.poll() is None and not any(path.name.startswith(".shapes-cls-") for path in tmp_path.iterdir()):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
        if process.returncode:
            break
        shutil.rmtree(tmp_path / "shapes-cls")
    assert process.returncode == 130
    assert said.decode().splitlines()[-1] == "yolo-focal shapes-cls: stopped; the same command starts again"
    assert "Traceback" not in said.decode()
    assert list(tmp_path.iterdir()) == []
