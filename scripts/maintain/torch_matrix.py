"""Try checkpoints of one release of torch with others, older and newer, and print a table.

python scripts/torch_matrix.py [releases=2.6.0,2.10.0]

Each release is installed into a fresh environment beside this environment's Ultralytics (5 GB and some minutes each,
all removed afterwards); the torch that runs the script is one more. In each, `yolov8n-focal.yaml` is trained for an
epoch on the shapes. Then each loads the checkpoint of every other, under restricted loading, compares the outputs for
one input with those that the training environment computed, exports to ONNX, and runs the file. The cells say by how
much the outputs differ at most, of PyTorch's and of the file's.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import venv
from importlib.metadata import version
from pathlib import Path

from ultralytics.utils import TQDM

PROJECT = Path(__file__).resolve().parent.parent
TRAIN = """
import numpy as np, os, torch
from ultralytics import YOLO
small = dict(data="shapes.yaml", imgsz=64, epochs=1, batch=8, fraction=0.1, workers=0, plots=False)
YOLO("yolov8n-focal.yaml").train(**small, project=os.getcwd(), name="run")
x = torch.linspace(0, 1, 3 * 64 * 64).view(1, 3, 64, 64)
with torch.no_grad():
    np.save("expected.npy", YOLO("run/weights/best.pt").model.float().eval()(x)[0].numpy())
"""
EXPORT = """
import numpy as np, onnxruntime, shutil, torch
from ultralytics import YOLO
folder, copy = {folder!r}, shutil.copy({folder!r} + "/run/weights/best.pt", "best.pt")
expected = np.load(folder + "/expected.npy")
x = torch.linspace(0, 1, 3 * 64 * 64).view(1, 3, 64, 64)
with torch.no_grad():
    found = YOLO(copy).model.float().eval()(x)[0].numpy()
file = YOLO(copy).export(format="onnx", imgsz=64)
exported = onnxruntime.InferenceSession(file).run(None, {{"images": x.numpy()}})[0]
print("APART", max(abs(found - expected).max(), abs(exported - expected).max()))
"""


class Release:
    """A release of torch, installed, and a folder to work in."""

    def __init__(self, torch: str, folder: Path) -> None:
        self.torch, self.folder = torch, folder
        self.python = Path(sys.executable)
        if torch != version("torch"):
            venv.create(folder / "venv", with_pip=True)
            self.python = folder / "venv" / ("Scripts" if os.name == "nt" else "bin") / "python"
            pip = (self.python, "-m", "pip", "install", "-q", "--disable-pip-version-check")
            others = ("onnx", "onnxruntime", "onnxslim", "onnxscript", str(PROJECT))
            self.run(*pip, f"torch=={torch}", "torchvision", f"ultralytics=={version('ultralytics')}", *others)

    def run(self, *command: object) -> str:
        """Run a command and return what it prints; raise RuntimeError with its last line where it fails."""
        done = subprocess.run(
            [str(part) for part in command],
            cwd=self.folder,
            env={**os.environ, "YOLO_CONFIG_DIR": str(self.folder), "ULTRALYTICS_SAFE_LOAD": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError((done.stdout.strip().splitlines() or ["no output"])[-1])
        return done.stdout

    def train(self) -> None:
        """Train a checkpoint and compute what it gives."""
        self.run(self.python, "-c", TRAIN)

    def export(self, trained: Release) -> str:
        """Load and export a checkpoint of another release; return the largest difference of the outputs."""
        try:
            printed = self.run(self.python, "-c", EXPORT.format(folder=str(trained.folder)))
        except RuntimeError as error:
            return f"no: {str(error)[:120]}"
        apart = next(line.split()[1] for line in printed.splitlines() if line.startswith("APART"))
        return f"yes, {float(apart):.0e}"


def main(releases: str = "2.6.0,2.10.0") -> bool:
    """Print the table; return whether every checkpoint loads everywhere."""
    with tempfile.TemporaryDirectory() as folder:
        there = []
        for name in TQDM([*releases.split(","), version("torch")], desc="Installing and training", file=sys.stderr):
            place = Path(folder) / name
            place.mkdir()
            there.append(Release(name, place))
            there[-1].train()
        print(f"| trained with torch | {' | '.join(f'exported with {one.torch}' for one in there)} |")
        print("| --- |" + " --- |" * len(there))
        passed = True
        for trained in there:
            found = [one.export(trained) for one in there]
            passed &= all(outcome.startswith("yes") for outcome in found)
            print(f"| {trained.torch} | {' | '.join(found)} |", flush=True)
    return passed


if __name__ == "__main__":
    sys.exit(not main(**dict(argument.split("=", 1) for argument in sys.argv[1:])))
