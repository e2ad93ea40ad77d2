"""What the tests share: settings of their own, and a checkpoint that the stock `yolo` has trained."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock
from support import SETTINGS, YOLO, python, run, shared_folder


def pytest_configure(config: pytest.Config) -> None:
    """Keep Ultralytics' settings and data sets of the tests apart from the user's own, before it is first imported."""
    os.environ["YOLO_CONFIG_DIR"] = str(SETTINGS)
    os.environ.pop("YOLO_FOCAL_AUTOLOAD", None)
    os.environ["OMP_WAIT_POLICY"] = "passive"  # threads that spin slow each other down many times over
    if hasattr(config, "workerinput"):  # a process of pytest-xdist's: they share the cores
        os.environ["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // config.workerinput["workercount"]))
    # Results go to the working directory, also where the environment lies in a clone: Ultralytics takes the clone then.
    folders = {"datasets_dir": str(SETTINGS / "datasets"), "runs_dir": "runs"}
    python(f"from ultralytics import settings; settings.update({folders!r})", cwd=SETTINGS)


def pytest_unconfigure() -> None:
    """Leave nothing behind."""
    shutil.rmtree(SETTINGS)


def train_once(tmp_path_factory: pytest.TempPathFactory, name: str, *arguments: str) -> Path:
    """Train with the stock `yolo` on the shapes, once for all processes, and return the folder that it trained in."""
    shared = shared_folder(tmp_path_factory)
    folder = shared / name
    with FileLock(shared / f"{name}.lock"):
        if not folder.exists():
            unfinished = shared / f"{name}.unfinished"
            unfinished.mkdir()
            run(
                *(YOLO, "train", *arguments, "imgsz=128", "batch=8", "workers=0", "plots=False"),
                cwd=unfinished,
                OMP_NUM_THREADS=str(os.cpu_count()),  # the other processes soon wait for it too
            )
            unfinished.rename(folder)
    return folder


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the stock `yolo` has trained, long enough to find shapes: `runs/detect/train`."""
    return train_once(tmp_path_factory, "trained", "model=yolov8n-focal.yaml", "data=shapes.yaml", "epochs=5")


@pytest.fixture(scope="session")
def checkpoint(trained: Path) -> Path:
    """The checkpoint that the training wrote."""
    return trained / "runs" / "detect" / "train" / "weights" / "last.pt"


@pytest.fixture(scope="session")
def of_task(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return the checkpoint of a stock model that finds shapes, given its task: "detect", "segment", "pose", "obb"."""

    def train(task: str) -> Path:
        # Masks come later than boxes, and what derive keeps of a detector's accuracy is measured.
        suffix, epochs = {"detect": ("", 10), "segment": ("-seg", 8)}.get(task, (f"-{task}", 5))
        arguments = (f"model=yolov8n{suffix}.yaml", f"data=shapes{suffix}.yaml", f"epochs={epochs}")
        folder = train_once(tmp_path_factory, f"trained-{task}", *arguments)
        return folder / "runs" / task / "train" / "weights" / "best.pt"

    return train
