"""Load checkpoints of one release of torch with older and newer ones and print a table.

python scripts/maintain/torch_matrix.py [releases=2.6.0,2.10.0]

Each release is installed into a new environment with the current environment's version of Ultralytics (5 GB and some
minutes each, removed afterwards); the current environment's torch is also tried. In each environment
`yolov8n-focal.yaml` is trained for an epoch on the shapes data set. Then each loads the checkpoint of every other under
restricted loading, compares the output for one input with that of the training environment, exports to ONNX and runs
the file. A cell has the largest difference of PyTorch's and the ONNX file's output to that of the training environment.
"""

from __future__ import annotations

import os
import sys
import tempfile
import venv
from importlib.metadata import version
from pathlib import Path

import commands
from ultralytics.utils import TQDM

PROJECT = Path(__file__).resolve().parents[2]
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
    loaded = YOLO(copy).model.float().eval()(x)[0].numpy()
file = YOLO(copy).export(format="onnx", imgsz=64)
exported = onnxruntime.InferenceSession(file).run(None, {{"images": x.numpy()}})[0]
print("DIFFERENCE", max(abs(loaded - expected).max(), abs(exported - expected).max()))
"""


class Release:
    """An installed release of torch and a working folder.

    Args:
        torch: The release.
        folder: The working folder.
    """

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
        """Run a command and return its output; raise RuntimeError with the last line of it if the command fails."""
        env = {**os.environ, "YOLO_CONFIG_DIR": str(self.folder), "ULTRALYTICS_SAFE_LOAD": "1"}
        return commands.output(command, self.folder, env)

    def train(self) -> None:
        """Train a checkpoint and compute its output for one input."""
        self.run(self.python, "-c", TRAIN)

    def export(self, trained: Release) -> str:
        """Load and export a checkpoint of another release; return the largest difference of the outputs."""
        try:
            output = self.run(self.python, "-c", EXPORT.format(folder=str(trained.folder)))
        except RuntimeError as error:
            return f"no: {str(error)[:120]}"
        difference = next(line.split()[1] for line in output.splitlines() if line.startswith("DIFFERENCE"))
        return f"yes, {float(difference):.0e}"


def main(releases: str = "2.6.0,2.10.0") -> bool:
    """Print the table; return whether every release loads and exports every checkpoint."""
    with tempfile.TemporaryDirectory() as folder:
        installed = []
        for name in TQDM([*releases.split(","), version("torch")], desc="Installing and training", file=sys.stderr):
            release_folder = Path(folder) / name
            release_folder.mkdir()
            installed.append(Release(name, release_folder))
            installed[-1].train()
        print(f"| trained with torch | {' | '.join(f'exported with {release.torch}' for release in installed)} |")
        print("| --- |" + " --- |" * len(installed))
        passed = True
        for trained in installed:
            outcomes = [release.export(trained) for release in installed]
            passed &= all(outcome.startswith("yes") for outcome in outcomes)
            print(f"| {trained.torch} | {' | '.join(outcomes)} |", flush=True)
    return passed


if __name__ == "__main__":
    sys.exit(not main(**dict(argument.split("=", 1) for argument in sys.argv[1:])))
