"""Train, validate, predict with and export the packaged model configs at their smallest scale; print the results.

python scripts/maintain/check_configs.py [only=yolov8-focal,yolo11-focal-seg] [epochs=1] [imgsz=128]

Each is trained on the shapes data set of its task. The scores are mAP50-95 (top-1 accuracy of classifiers; the lowest
of boxes, masks and keypoints) of the trained model and of its ONNX export, on the same validation images. The exit
status is 1 if a step fails or the two scores differ by more than 0.01.
"""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from pathlib import Path

from ultralytics import RTDETR, YOLO, YOLOWorld
from ultralytics.utils import LOGGER, TQDM

from yolo_focal import shapes
from yolo_focal.hook import configs

MAX_DIFFERENCE = 0.01
DATA = {"segment": "shapes-seg.yaml", "pose": "shapes-pose.yaml", "obb": "shapes-obb.yaml", "classify": "shapes-cls"}


def main(only: str = "", epochs: str = "1", imgsz: str = "128") -> bool:
    """Print a line for each config; return whether all of them passed."""
    LOGGER.setLevel(logging.ERROR)
    names = only.split(",") if only else sorted(file.stem for file in configs.folder().glob("yolo*.yaml"))
    passed = True
    print(f"{'config':<24}{'PyTorch':>8}{'ONNX':>8}  outcome")
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        shapes.draw("shapes-cls", "classify")
        for name in TQDM(names, desc="Configs", file=sys.stderr):
            try:
                torch_score, onnx_score = check(name, int(epochs), int(imgsz))
                scores = f"{torch_score:>8.3f}{onnx_score:>8.3f}"
                close = abs(torch_score - onnx_score) <= MAX_DIFFERENCE
                outcome = "passed" if close else f"FAILED: they differ by more than {MAX_DIFFERENCE}"
            except Exception as error:
                scores, outcome = "", f"FAILED: {type(error).__name__}: {' '.join(str(error).split())[:200]}"
            passed &= outcome == "passed"
            print(f"{name:<24}{scores:>16}  {outcome}", flush=True)
    return passed


def check(name: str, epochs: int, imgsz: int) -> tuple[float, float]:
    """Train, validate, predict with and export a config; return the scores of the trained model and of its export."""
    kind = RTDETR if "rtdetr" in name else YOLOWorld if "world" in name else YOLO
    model = kind(f"{name}.yaml")  # without a scale letter, Ultralytics uses the first scale, n
    data = DATA.get(model.task, "shapes.yaml")
    common = {"data": data, "imgsz": imgsz, "batch": 8, "workers": 0, "plots": False, "verbose": False}
    model.train(**common, epochs=epochs, name=name)
    trained = kind(Path(model.trainer.save_dir, "weights", "last.pt"))
    score = worst(trained.val(**common).results_dict)
    trained.predict(shapes.scenes.scene("val", 0)[0], imgsz=imgsz, verbose=False)
    exported = YOLO(trained.export(format="onnx", imgsz=imgsz, batch=8, verbose=False), task=trained.task)
    return score, worst(exported.val(**common).results_dict)


def worst(results: dict[str, float]) -> float:
    """Return the lowest of a validation's main scores."""
    return min(value for key, value in results.items() if "mAP50-95" in key or "top1" in key)


if __name__ == "__main__":
    sys.exit(not main(**dict(argument.split("=", 1) for argument in sys.argv[1:])))
