"""Try the hook with releases of Ultralytics, or checkpoints with releases of torch, and print a table of what works.

python scripts/maintain/version_matrix.py [ultralytics=8.1.47,8.4.190]
python scripts/maintain/version_matrix.py torch=2.6.0,2.10.0

Each release is installed into a new environment on top of the one that runs the script, which is removed afterwards.
Those of Ultralytics are tried with the stock `yolo` command in an empty folder:

parser      builds a packaged model, and one with a registered module of the user's own
train       trains one epoch on the shapes
export      writes an ONNX file whose outputs equal PyTorch's
restricted  validates the checkpoint under ULTRALYTICS_SAFE_LOAD=1; from 8.4 on, which has restricted loading
compare     compares both models on images of which some are empty: what is recorded of each has the validator's score

Releases before 8.3 load
checkpoints in a way that torch 2.6 and later refuses; TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD=1 is set for them, which their
users have to do too. Some integrate with a function that NumPy 2.4 has no more, and get NumPy 2.3.

Each release of torch (5 GB) and the current one train a model for an epoch. Then each loads the checkpoint of every
other under restricted loading, exports it to ONNX and runs the file. A cell has the largest difference of PyTorch's and
the file's output to that in the environment that trained it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import venv
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path

import cv2
import numpy as np

PROJECT = Path(__file__).resolve().parents[2]
# The first and the last release of each minor version, as in docs/hook.md.
RELEASES = "8.1.0,8.1.47,8.2.0,8.2.103,8.3.0,8.3.253,8.4.0,8.4.190"
SMALL = ("imgsz=64", "batch=8", "workers=0", "plots=False")
SHAPES = ("data=shapes.yaml", *SMALL)
# Squares are learnt in so many epochs, if nothing but their place differs.
LEARNING = ("epochs=30", "optimizer=AdamW", "lr0=0.001", "warmup_epochs=0", *SMALL)
PARSER = """
import ultralytics
from ultralytics.nn.tasks import DetectionModel
model = ultralytics.YOLO("yolov8n-focal.yaml").model
rows = model.yaml["backbone"][:-1] + [[-1, 1, "Own", []]]
own = DetectionModel({**model.yaml, "backbone": rows}, verbose=False).model
print(ultralytics.__version__, type(model.model[9]).__name__, type(own[9]).__name__)
"""
OUTPUTS = """
import numpy as np, onnxruntime, torch
from ultralytics import YOLO
x = torch.linspace(0, 1, 3 * 64 * 64).view(1, 3, 64, 64)
with torch.no_grad():
    loaded = YOLO("copy.pt").model.float().eval()(x)[0].numpy()
file = YOLO("copy.pt").export(format="onnx", imgsz=64)
np.save("outputs.npy", [loaded, onnxruntime.InferenceSession(file).run(None, {"images": x.numpy()})[0]])
"""


class Release:
    """A release in a virtual environment on top of the one that runs this script, and a folder to work in.

    Args:
        folder: The folder.
        ultralytics: The release of Ultralytics.
        torch: The release of torch; the one that runs this script needs no installation.
    """

    def __init__(self, folder: Path, ultralytics: str, torch: str = version("torch")) -> None:
        self.folder, self.ultralytics, self.torch = folder, ultralytics, torch
        self.env = {**os.environ, "YOLO_CONFIG_DIR": str(folder)}
        self.minor = tuple(map(int, ultralytics.split(".")[:2]))
        if self.minor < (8, 3):
            self.env["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"] = "1"
        venv.create(folder / "venv", with_pip=True)
        self.bin = folder / "venv" / ("Scripts" if os.name == "nt" else "bin")
        site = next((folder / "venv").rglob("site-packages"))
        (site / "outer.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")
        if torch != version("torch"):
            self.install("--ignore-installed", f"torch=={torch}", "torchvision")
        self.install("--ignore-installed", "--no-deps", f"ultralytics=={ultralytics}", str(PROJECT))
        self.install(
            f"ultralytics=={ultralytics}", "onnxscript"
        )  # torch needs it, and older releases do not ask for it
        if "np.trapezoid" not in (site / "ultralytics/utils/metrics.py").read_text(encoding="utf-8"):
            self.install("--ignore-installed", "--no-deps", "numpy==2.3.*")
        self.run("yolo", "settings", "raytune=False")  # older releases are not compatible with current versions of Ray

    def install(self, *words: str) -> None:
        """Install packages."""
        self.run("python", "-m", "pip", "install", "-q", "--disable-pip-version-check", *words)

    def run(self, program: str, *words: object, **env: str) -> str:
        """Run a program of the environment and return what it prints.

        Raises:
            RuntimeError: It failed; the message is the last line that it has printed.
        """
        command = [str(word) for word in (self.bin / program, *words)]
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        done = subprocess.run(command, cwd=self.folder, env={**self.env, **env}, text=True, **streams)
        if done.returncode:
            raise RuntimeError((done.stdout.strip() or "no output").splitlines()[-1])
        return done.stdout

    def parser(self) -> None:
        """Build a packaged model and one with a module of the user's own."""
        self.run("yolo-focal", "new", "own.py", "name=Own")
        built = self.run("python", "-c", PARSER, YOLO_FOCAL_MODULES="own").split()[-3:]
        if built != [self.ultralytics, "FocalModulation", "Own"]:
            raise RuntimeError(f"it is {' '.join(built)}")

    def train(self) -> None:
        """Train one epoch."""
        self.run("yolo", "train", "model=yolov8n-focal.yaml", *SHAPES, "fraction=0.1", "epochs=1", "name=trained")

    @property
    def weights(self) -> Path:
        """The trained checkpoint."""
        return next(self.folder.rglob("trained/weights/best.pt"))

    def outputs(self, weights: Path, **env: str) -> np.ndarray:
        """Load a checkpoint and export it to ONNX; return PyTorch's output and the file's for one image."""
        shutil.copy(weights, self.folder / "copy.pt")
        self.run("python", "-c", OUTPUTS, **env)
        return np.load(self.folder / "outputs.npy")

    def export(self) -> None:
        """Compare an ONNX file's output with PyTorch's."""
        loaded, exported = self.outputs(self.weights)
        if abs(exported - loaded).max() > 0.01:
            raise RuntimeError(f"the outputs differ by {abs(exported - loaded).max()}")

    def difference(self, trained: Release) -> str:
        """Return the largest difference of the outputs to that of the release that trained the model."""
        expected = trained.outputs(trained.weights)[0]
        return f"yes, {abs(self.outputs(trained.weights, ULTRALYTICS_SAFE_LOAD='1') - expected).max():.0e}"

    def restricted(self) -> None:
        """Validate under restricted loading."""
        self.run("yolo", "val", f"model={self.weights}", *SHAPES, ULTRALYTICS_SAFE_LOAD="1")

    def compare(self) -> None:
        """Compare both models, and what was recorded with what the validator said."""
        draw(self.folder / "squares")
        models = "models=yolov8n.yaml,yolov8n-focal.yaml"
        self.run("yolo-focal", "compare", "data=squares/data.yaml", models, "seeds=1", *LEARNING)
        for file in self.folder.rglob("compare/*/*/seed0/result.json"):
            result = json.loads(file.read_text())
            score, last = result["scores"]["mean_of_last"], result["curve"][-3:]
            if not result["recorded"]:
                raise RuntimeError(f"{file}: not every image was recorded, with Ultralytics' score")
            if not 0 < score < 1 or abs(score - sum(last) / 3) > 0.001:
                raise RuntimeError(f"{file}: the score is {score}, and the last ones of the curve are {last}")


def draw(folder: Path) -> None:
    """Draw images of a square each, and four of the images to validate on without one."""
    rng = np.random.default_rng(0)
    for split, count, empty in (("train", 64, 0), ("val", 12, 4)):
        for kind in ("images", "labels"):
            (folder / kind / split).mkdir(parents=True)
        for index in range(count):
            image = np.full((64, 64, 3), 114, np.uint8)
            if index >= empty:
                x, y = map(int, rng.integers(2, 30, 2))
                image[y : y + 32, x : x + 32] = 255
                label = f"0 {(x + 16) / 64} {(y + 16) / 64} 0.5 0.5"
                (folder / "labels" / split / f"{index}.txt").write_text(label)
            cv2.imwrite(str(folder / "images" / split / f"{index}.png"), image)
    (folder / "data.yaml").write_text(f"path: {folder}\ntrain: images/train\nval: images/val\nnames: [square]\n")


def of_ultralytics(releases: list[str]) -> None:
    """Print a line for each release."""
    print("| Ultralytics | parser | train | export | restricted | compare |\n|" + " --- |" * 6)
    for name in releases:
        with tempfile.TemporaryDirectory() as folder:
            release = Release(Path(folder), name)
            steps = [release.parser, release.train, release.export, release.restricted, release.compare]
            cells = ["-" if step == release.restricted and release.minor < (8, 4) else outcome(step) for step in steps]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


def outcome(step: Callable[[], str | None]) -> str:
    """Run a step; return what it finds or "yes", or "no" and the error."""
    try:
        return step() or "yes"
    except RuntimeError as error:
        return f"no: {str(error)[:160]}"


def of_torch(releases: list[str]) -> None:
    """Print a line for each checkpoint."""
    with tempfile.TemporaryDirectory() as folder:
        installed = []
        for name in (*releases, version("torch")):
            (Path(folder) / name).mkdir()
            installed.append(Release(Path(folder) / name, version("ultralytics"), name))
            installed[-1].train()
        print(f"| trained with torch | {' | '.join(f'exported with {release.torch}' for release in installed)} |")
        print("| --- |" + " --- |" * len(installed))
        for trained in installed:
            outcomes = [outcome(partial(release.difference, trained)) for release in installed]
            print(f"| {trained.torch} | {' | '.join(outcomes)} |", flush=True)


def main(ultralytics: str = RELEASES, torch: str = "") -> None:
    """Print the table."""
    if torch:
        of_torch(torch.split(","))
    else:
        of_ultralytics(ultralytics.split(","))


if __name__ == "__main__":
    main(**dict(argument.split("=", 1) for argument in sys.argv[1:]))
