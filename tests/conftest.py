"""What the tests share: a command line in a process of its own, and a checkpoint that the stock `yolo` has trained."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parent.parent
SETTINGS = Path(tempfile.mkdtemp(prefix="yolo-focal-tests-"))
YOLO = str(Path(sysconfig.get_path("scripts")) / "yolo")
COMMAND = str(Path(sysconfig.get_path("scripts")) / "yolo-focal")


def environment(**env: str) -> dict[str, str]:
    """What a user's shell would hand to a process, with `env` set on top."""
    # Ultralytics asks for pytest's variables and then writes its runs elsewhere.
    return {**{k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}, **env}


def run(*command: str | Path, cwd: Path, check: bool = True, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a command as a user's shell would; `env` is set on top of the environment.

    Where `check` is set and the command fails, the test fails and shows what it printed.
    """
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=environment(**env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if check and done.returncode:
        pytest.fail(f"{' '.join(map(str, command))}: exit status {done.returncode}\n{done.stdout[-6000:]}")
    return done


def python(code: str, cwd: Path, check: bool = True, **env: str) -> str:
    """Run Python code in a fresh interpreter and return what it prints."""
    return run(sys.executable, "-c", code, cwd=cwd, check=check, **env).stdout


def pytest_configure() -> None:
    """Keep Ultralytics' settings and data sets of the tests apart from the user's own, before it is first imported."""
    os.environ["YOLO_CONFIG_DIR"] = str(SETTINGS)
    os.environ.pop("YOLO_FOCAL_AUTOLOAD", None)
    datasets = str(SETTINGS / "datasets")
    python(f"from ultralytics import settings; settings.update({{'datasets_dir': {datasets!r}}})", cwd=SETTINGS)


def pytest_unconfigure() -> None:
    """Leave nothing behind."""
    shutil.rmtree(SETTINGS)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the stock `yolo` has trained, long enough to find shapes: `runs/detect/train`."""
    folder = tmp_path_factory.mktemp("trained")
    run(
        *(YOLO, "train", "model=yolov8n-focal.yaml", "data=shapes.yaml", "imgsz=128", "epochs=5", "batch=8"),
        *("workers=0", "plots=False"),
        cwd=folder,
    )
    return folder


@pytest.fixture(scope="session")
def checkpoint(trained: Path) -> Path:
    """The checkpoint that the training wrote."""
    return trained / "runs" / "detect" / "train" / "weights" / "last.pt"
