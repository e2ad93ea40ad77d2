"""What one environment cannot show: the wheel with each Python, and the lowest versions of what it depends on.

`nox -l` lists the sessions, `nox -s lowest` runs one. Each has an environment of its own (5 GB with a torch for GPUs).
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import nox

nox.options.default_venv_backend = "uv"
nox.options.sessions = ["lowest"]

SMALL = ("data=shapes.yaml", "imgsz=64", "epochs=1", "batch=8", "fraction=0.1", "workers=0", "plots=False")
BEST = "model=runs/detect/train/weights/best.pt"


@nox.session(python=["3.10", "3.11", "3.12", "3.13"])
def wheel(session: nox.Session) -> None:
    """Install the wheel and do the main job with the stock `yolo`."""
    built = Path(session.create_tmp()) / "dist"
    session.run("uv", "build", "--wheel", "--out-dir", str(built), external=True)
    session.install(f"{next(built.glob('*.whl'))}[compare,export]")
    main_job(session, "yolo")


@nox.session(python="3.10")
def lowest(session: nox.Session) -> None:
    """Do the main job with the lowest version that is declared of each dependency."""
    # Ultralytics' own torchvision is no dependency of ours: the newest would bring the newest torch for this Python.
    session.install("--resolution", "lowest-direct", ".[compare,export]", "torchvision==0.15.1", "setuptools==69.5.1")
    main_job(session, "yolo-focal")  # torch starts the hook of the stock `yolo` from 2.5 on


def main_job(session: nox.Session, yolo: str) -> None:
    """Train, validate, predict, export, derive, look and compare, in an empty folder whose name has a space."""
    with tempfile.TemporaryDirectory(prefix="main job ") as folder, session.chdir(folder):
        settings = Path(folder) / "settings"
        settings.mkdir()
        env = {"YOLO_CONFIG_DIR": str(settings)}
        # Of an environment in a clone, as nox makes it, Ultralytics would take the clone for its results.
        here = "from ultralytics import settings; settings.update({'runs_dir': 'runs', 'datasets_dir': 'datasets'})"
        session.run("python", "-c", here, env=env)
        where = "import os, ultralytics; print(os.path.dirname(ultralytics.__file__))"
        photos = f"source={session.run('python', '-c', where, silent=True, env=env).strip()}/assets"
        for command in (
            ("yolo-focal", "version"),
            (yolo, "train", "model=yolov8n-focal.yaml", *SMALL),
            (yolo, "val", BEST, "data=shapes.yaml", "imgsz=64"),
            (yolo, "predict", BEST, photos, "imgsz=64"),
            (yolo, "export", BEST, "format=onnx", "imgsz=64", "simplify=False"),
            ("yolo-focal", "derive", "model=yolov8n.yaml"),
            ("yolo-focal", "visualize", BEST, photos),
            ("yolo-focal", "compare", "models=yolov8n.yaml,yolov8n-focal.yaml", "seeds=2", *SMALL),
        ):
            session.run(*command, env=env)
