"""Try the hook with many releases of Ultralytics and print a table of what works.

python scripts/maintain/version_matrix.py [releases=8.1.47,8.4.190]

Without `releases` these are the first and the last release of each minor version from 8.1 on in the package index. Each
is installed into a separate environment on top of the one that runs the script, so that torch is not installed again,
and tried there with the stock `yolo` command in an empty folder:

parser      builds a packaged model, and one with a registered module of the user's own
train       trains one epoch on the shapes
export      writes an ONNX file whose outputs equal PyTorch's
restricted  validates the checkpoint under ULTRALYTICS_SAFE_LOAD=1; from 8.4 on, which has restricted loading
compare     compares both models on images of which some are empty: what is recorded of each has the validator's score

A step that fails is repeated with the stock model, and the table notes if that fails as well. Releases before 8.3 load
checkpoints in a way that torch 2.6 and later refuses; TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD=1 is set for them, which their
users have to do too. Some integrate with a function that NumPy 2.4 has no more, and get NumPy 2.3.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import tempfile
import venv
from collections.abc import Callable
from pathlib import Path

import commands
from ultralytics.utils import TQDM

PROJECT = Path(__file__).resolve().parents[2]
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
exported = onnxruntime.InferenceSession("{onnx}").run(None, {{"images": x.numpy()}})[0]
difference = abs(exported - expected).max()
assert difference < 0.01, difference
"""
DRAW = """
import cv2, numpy as np
from pathlib import Path
rng = np.random.default_rng(0)
for split, count, empty in (("train", 64, 0), ("val", 12, 4)):
    for kind in ("images", "labels"):
        Path(f"squares/{kind}/{split}").mkdir(parents=True)
    for index in range(count):
        image = np.full((64, 64, 3), 114, np.uint8)
        if index >= empty:
            x, y = map(int, rng.integers(2, 30, 2))
            image[y : y + 32, x : x + 32] = 255
            Path(f"squares/labels/{split}/{index}.txt").write_text(f"0 {(x + 16) / 64} {(y + 16) / 64} 0.5 0.5")
        cv2.imwrite(f"squares/images/{split}/{index}.png", image)
Path("squares.yaml").write_text(
    f"path: {Path('squares').absolute()}\\ntrain: images/train\\nval: images/val\\nnames: [square]\\n"
)
"""
# Squares are learnt in so many epochs, if nothing but their place differs.
LEARNING = (
    "imgsz=64",
    "batch=8",
    "epochs=30",
    "optimizer=AdamW",
    "lr0=0.001",
    "warmup_epochs=0",
    "workers=0",
    "plots=False",
)
PLAIN = ("mosaic=0", "scale=0", "translate=0", "hsv_v=0", "fliplr=0")
COMPARED = """
import json
from pathlib import Path
for file in sorted(Path("runs").rglob("compare/*/*/seed0/result.json")):
    result = json.loads(file.read_text())
    scores, last = result["scores"], result["curve"][-result["last_epochs"] :]
    print(file.parent.parent.name, round(scores["mean_of_last"], 4), round(sum(last) / len(last), 4))
    assert result["recorded"], f"{file}: not every image was recorded, with Ultralytics' score"
    assert len(last) == 3 and abs(scores["mean_of_last"] - sum(last) / len(last)) < 0.001, (scores, last)
    assert scores["mean_of_last"] > 0, scores
"""


class Release:
    """A release of Ultralytics in a working folder.

    Args:
        version: The release.
        folder: The working folder.
    """

    def __init__(self, version: str, folder: Path) -> None:
        self.version, self.folder = version, folder
        self.bin = folder / "venv" / ("Scripts" if os.name == "nt" else "bin")
        self.env = {**os.environ, "YOLO_CONFIG_DIR": str(folder), "YOLO_FOCAL_MODULES": "own"}
        self.minor = tuple(map(int, version.split(".")[:2]))
        if self.minor < (8, 3):
            self.env["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"] = "1"

    def install(self) -> None:
        """Install it into an environment that also has the packages of the one that runs this script."""
        venv.create(self.folder / "venv", with_pip=True)
        site = next((self.folder / "venv").rglob("site-packages"))
        outer_site = sysconfig.get_path("purelib")
        (site / "outer.pth").write_text(f"import site; site.addsitedir({outer_site!r})\n")
        pip = (self.bin / "python", "-m", "pip", "install", "-q", "--disable-pip-version-check")
        own = (*pip, "--no-deps", "--ignore-installed")  # installs its commands even if the outer environment has it
        self.run(*own, f"ultralytics=={self.version}")
        self.run(
            *pip, f"ultralytics=={self.version}", "onnxscript"
        )  # needed by torch, but not required by older releases
        self.run(*own, str(PROJECT))
        if "np.trapezoid" not in (site / "ultralytics/utils/metrics.py").read_text(encoding="utf-8"):
            self.run(*own, "numpy==2.3.*")
        self.run(
            self.bin / "yolo", "settings", "raytune=False"
        )  # older releases are not compatible with current versions of Ray

    def run(self, *command: object, **env: str) -> str:
        """Run a command and return its output; raise RuntimeError with the last line of it if the command fails."""
        return commands.output(command, self.folder, {**self.env, **env})

    def parser(self) -> None:
        """Build a packaged model and one with a module of the user's own."""
        (self.folder / "own.py").write_text(OWN)
        output = self.run(self.bin / "python", "-c", f"import ultralytics; print(ultralytics.__version__)\n{PARSER}")
        if self.version not in output:
            raise RuntimeError(f"it is not {self.version} that runs: {output}")

    def train(self, model: str) -> None:
        """Train one epoch."""
        self.run(self.bin / "yolo", "train", f"model={model}.yaml", *SMALL, "epochs=1", f"name={model}")

    def export(self, model: str) -> None:
        """Export to ONNX and compare the outputs with PyTorch's."""
        weights = self.weights(model)
        self.run(self.bin / "yolo", "export", f"model={weights}", "format=onnx", "imgsz=64")
        code = EXPORTED.format(weights=weights, onnx=weights.with_suffix(".onnx"))
        self.run(self.bin / "python", "-c", code)

    def restricted(self, model: str) -> None:
        """Validate under restricted loading."""
        arguments = ("val", f"model={self.weights(model)}", *SMALL[:3], "workers=0", "plots=False")
        self.run(self.bin / "yolo", *arguments, ULTRALYTICS_SAFE_LOAD="1")

    def compare(self) -> None:
        """Compare both models, and what was recorded with what the validator said."""
        self.run(self.bin / "python", "-c", DRAW)
        models = f"models={STOCK}.yaml,yolov8n-focal.yaml"
        self.run(self.bin / "yolo-focal", "compare", "data=squares.yaml", models, "seeds=1", *LEARNING)
        print(self.run(self.bin / "python", "-c", COMPARED), file=sys.stderr)

    def weights(self, model: str) -> Path:
        """Return the trained checkpoint of a model; the stock model is trained at the first call."""
        if model == STOCK and not (self.folder / "runs/detect" / model).exists():
            self.train(model)
        return next(self.folder.rglob(f"{model}/weights/best.pt"))


def main(releases: str = "") -> bool:
    """Print a line for each release; return whether no step failed that succeeds with the stock model."""
    versions = releases.split(",") if releases else first_and_last_releases()
    passed = True
    print(
        "| Ultralytics | parser | train | export | restricted | compare |\n| --- | --- | --- | --- | --- | --- |",
        flush=True,
    )
    for version in TQDM(versions, desc="Releases", file=sys.stderr):
        with tempfile.TemporaryDirectory() as folder:
            release = Release(version, Path(folder))
            release.install()
            outcomes = [outcome_of(release.parser), compare(release.train), compare(release.export)]
            outcomes.append(compare(release.restricted) if release.minor >= (8, 4) else "-")
            outcomes.append(outcome_of(release.compare))
        passed &= not any(outcome.startswith("no: ") for outcome in outcomes)
        print(f"| {version} | {' | '.join(outcomes)} |", flush=True)
    return passed


def outcome_of(step: Callable[[], None]) -> str:
    """Run a step; return "yes", or "no" and the error."""
    try:
        step()
        return "yes"
    except (RuntimeError, StopIteration) as error:
        return f"no: {str(error)[:160]}"


def compare(step: Callable[[str], None]) -> str:
    """Run a step with the focal model, and with the stock model if it fails."""
    outcome = outcome_of(lambda: step("yolov8n-focal"))
    if outcome == "yes":
        return outcome
    stock = outcome_of(lambda: step(STOCK))
    return outcome if stock == "yes" else f"stock neither ({stock[4:]})"


def first_and_last_releases() -> list[str]:
    """Return the first and the last release of each minor version from 8.1 on."""
    process = subprocess.run(
        [sys.executable, "-m", "pip", "index", "versions", "ultralytics"], stdout=subprocess.PIPE, text=True, check=True
    )
    releases = sorted({tuple(map(int, r)) for r in re.findall(r"\b(\d+)\.(\d+)\.(\d+)\b", process.stdout)})
    minors: dict[tuple[int, int], list[tuple[int, ...]]] = {}
    for release in releases:
        if release >= (8, 1):
            minors.setdefault(release[:2], []).append(release)
    return [".".join(map(str, release)) for group in minors.values() for release in sorted({group[0], group[-1]})]


if __name__ == "__main__":
    sys.exit(not main(**dict(argument.split("=", 1) for argument in sys.argv[1:])))
