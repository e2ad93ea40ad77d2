"""Try the hook with many releases of Ultralytics and print a table of what works.

python scripts/version_matrix.py [releases=8.1.47,8.4.190]

Without `releases` it takes the first and the last release of each minor version from 8.1 on, as the package index lists
them. Each is installed into an environment of its own on top of the one that runs the script, so torch is not installed
again, and tried there with the stock `yolo` from an empty folder:

parser      builds a packaged model, and one with a registered module of the user's own
train       trains one epoch on the shapes
export      writes an ONNX file whose outputs equal PyTorch's
restricted  validates the checkpoint under ULTRALYTICS_SAFE_LOAD=1; from 8.4 on, which has restricted loading

What fails is tried with the stock model too, and the table says where that fails as well. Releases that are older than
torch 2.6 load checkpoints in a way that later torch refuses; TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD=1 is set for them, as
their users have to.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import tempfile
import venv
from pathlib import Path
from typing import Callable

from ultralytics.utils import TQDM

PROJECT = Path(__file__).resolve().parent.parent
STOCK = "yolov8n"
SMALL = ("data=shapes.yaml", "imgsz=64", "batch=8", "fraction=0.1", "workers=0", "plots=False")
OWN = """import torch, yolo_focal

@yolo_focal.register
class Own(torch.nn.Module):
    def __init__(self, dim, k=3):
        super().__init__()
        self.conv = torch.nn.Conv2d(dim, dim, k, padding=k // 2)

    def forward(self, x):
        return self.conv(x)
"""
PARSER = """
from ultralytics import YOLO
assert type(YOLO("yolov8n-focal.yaml").model.model[9]).__name__ == "FocalModulation"
config = YOLO("yolov8n-focal.yaml").model.yaml
rows = config["backbone"][:-1] + [[-1, 1, "Own", [1]]]
from ultralytics.nn.tasks import DetectionModel
assert type(DetectionModel({**config, "backbone": rows}, verbose=False).model[9]).__name__ == "Own"
"""
EXPORTED = """
import numpy as np, onnxruntime, torch
from ultralytics import YOLO
x = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
with torch.no_grad():
    expected = YOLO("{weights}").model.float().fuse().eval()(x)[0].numpy()
found = onnxruntime.InferenceSession("{onnx}").run(None, {{"images": x.numpy()}})[0]
apart = abs(found - expected).max()
assert apart < 0.01, apart
"""


class Release:
    """A release of Ultralytics, installed, and a folder to try it in."""

    def __init__(self, version: str, folder: Path) -> None:
        self.version, self.folder = version, folder
        self.bin = folder / "venv" / ("Scripts" if os.name == "nt" else "bin")
        self.env = {**os.environ, "YOLO_CONFIG_DIR": str(folder), "YOLO_FOCAL_MODULES": "own"}
        self.minor = tuple(map(int, version.split(".")[:2]))
        if self.minor < (8, 3):
            self.env["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"] = "1"

    def install(self) -> None:
        """Install it beside the packages of the environment that runs this script."""
        venv.create(self.folder / "venv", with_pip=True)
        site = next((self.folder / "venv").rglob("site-packages"))
        here = sysconfig.get_path("purelib")
        (site / "outer.pth").write_text(f"import site; site.addsitedir({here!r})\n")
        pip = (self.bin / "python", "-m", "pip", "install", "-q", "--disable-pip-version-check")
        own = (*pip, "--no-deps", "--ignore-installed")  # with commands of its own, also where the outer one has it
        self.run(*own, f"ultralytics=={self.version}")
        self.run(*pip, f"ultralytics=={self.version}", "onnxscript")  # older releases do not ask for it, and torch does
        self.run(*own, str(PROJECT))
        self.run(self.bin / "yolo", "settings", "raytune=False")  # older releases cannot talk to the Ray of today

    def run(self, *command: object, **env: str) -> str:
        """Run a command and return what it prints; raise RuntimeError with its last line where it fails."""
        done = subprocess.run(
            [str(part) for part in command],
            cwd=self.folder,
            env={**self.env, **env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(
                ([line.strip() for line in done.stdout.splitlines() if line.strip()] or ["no output"])[-1]
            )
        return done.stdout

    def parser(self) -> None:
        """Build a packaged model and one with a module of the user's own."""
        (self.folder / "own.py").write_text(OWN)
        found = self.run(self.bin / "python", "-c", f"import ultralytics; print(ultralytics.__version__)\n{PARSER}")
        if self.version not in found:
            raise RuntimeError(f"it is not {self.version} that runs: {found}")

    def train(self, model: str) -> None:
        """Train one epoch."""
        self.run(self.bin / "yolo", "train", f"model={model}.yaml", *SMALL, "epochs=1", f"name={model}")

    def export(self, model: str) -> None:
        """Export to ONNX and compare."""
        weights = self.weights(model)
        self.run(self.bin / "yolo", "export", f"model={weights}", "format=onnx", "imgsz=64")
        code = EXPORTED.format(weights=weights, onnx=weights.with_suffix(".onnx"))
        self.run(self.bin / "python", "-c", code)

    def restricted(self, model: str) -> None:
        """Validate under restricted loading."""
        arguments = ("val", f"model={self.weights(model)}", *SMALL[:3], "workers=0", "plots=False")
        self.run(self.bin / "yolo", *arguments, ULTRALYTICS_SAFE_LOAD="1")

    def weights(self, model: str) -> Path:
        """Return a trained checkpoint; the stock model's is trained when it is first asked for."""
        if model == STOCK and not (self.folder / "runs/detect" / model).exists():
            self.train(model)
        return next(self.folder.rglob(f"{model}/weights/best.pt"))


def main(releases: str = "") -> bool:
    """Print a line for each release; return whether nothing failed that works for the stock model."""
    versions = releases.split(",") if releases else ends_of_minors()
    passed = True
    print("| Ultralytics | parser | train | export | restricted |\n| --- | --- | --- | --- | --- |", flush=True)
    for version in TQDM(versions, desc="Releases", file=sys.stderr):
        with tempfile.TemporaryDirectory() as folder:
            release = Release(version, Path(folder))
            release.install()
            outcomes = [tried(release.parser), compared(release.train), compared(release.export)]
            outcomes.append(compared(release.restricted) if release.minor >= (8, 4) else "-")
        passed &= not any(one.startswith("no: ") for one in outcomes)
        print(f"| {version} | {' | '.join(outcomes)} |", flush=True)
    return passed


def tried(step: Callable[[], None]) -> str:
    """Return "yes", or why a step failed."""
    try:
        step()
        return "yes"
    except (RuntimeError, StopIteration) as error:
        return f"no: {str(error)[:160]}"


def compared(step: Callable[[str], None]) -> str:
    """Try a step with the focal model, and with the stock model where that fails."""
    outcome = tried(lambda: step("yolov8n-focal"))
    if outcome == "yes":
        return outcome
    stock = tried(lambda: step(STOCK))
    return outcome if stock == "yes" else f"stock neither ({stock[4:]})"


def ends_of_minors() -> list[str]:
    """Return the first and the last release of each minor version from 8.1 on."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "index", "versions", "ultralytics"], stdout=subprocess.PIPE, text=True, check=True
    )
    found = sorted({tuple(map(int, one)) for one in re.findall(r"\b(\d+)\.(\d+)\.(\d+)\b", listed.stdout)})
    minors: dict[tuple[int, int], list[tuple[int, ...]]] = {}
    for one in found:
        if one >= (8, 1):
            minors.setdefault(one[:2], []).append(one)
    return [".".join(map(str, one)) for group in minors.values() for one in sorted({group[0], group[-1]})]


if __name__ == "__main__":
    sys.exit(not main(**dict(argument.split("=", 1) for argument in sys.argv[1:])))
