"""TensorRT, and ONNX Runtime on CUDA: YOLOv8-focal beside stock YOLOv8, exported as `yolo export` does."""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import benchmark
import numpy as np
import onnxruntime
import torch
from results import Job, Options, Row
from ultralytics import YOLO
from ultralytics.nn.autobackend import AutoBackend

PROVIDERS = {"cuda": "CUDAExecutionProvider", "cpu": "CPUExecutionProvider"}


def jobs(options: Options) -> Iterator[tuple[str, Job]]:
    """Yield what is installed, and say what is not."""
    scales = "n" if options.small else "nsm"
    if PROVIDERS[options.device] in onnxruntime.get_available_providers():
        for scale in scales:
            yield f"ONNX Runtime, YOLOv8{scale}", partial(with_onnxruntime, options, scale)
    else:
        print("ONNX Runtime: left out, as it has no CUDA provider here (package onnxruntime-gpu)")
    if options.device == "cuda" and importlib.util.find_spec("tensorrt"):
        for scale in scales:
            for half in (False, True):
                yield f"TensorRT, YOLOv8{scale}, half={half}", partial(with_tensorrt, options, scale, half)
    else:
        print("TensorRT: left out, as it is not here (package tensorrt)")


def names(scale: str) -> dict[str, str]:
    """Return the models' files, ours first."""
    return {"ours": f"yolov8{scale}-focal.yaml", "stock": f"yolov8{scale}.yaml"}


def rows(what: str, scale: str, seconds: dict[str, list[float]], difference: float) -> list[Row]:
    """Return what a table shows of timings of both models."""
    (row,) = benchmark.compare(what, f"YOLOv8{scale}", seconds)
    spread = f"{row.low:.2f} to {row.high:.2f}"
    return [
        {
            "runtime": what,
            "model": row.where,
            "ours, ms": row.ours,
            "stock, ms": row.others,
            "ratio": row.ratio,
            "quartiles": spread,
            "difference to PyTorch": difference,
        }
    ]


def with_onnxruntime(options: Options, scale: str) -> list[Row]:
    """Time both models on images that lie on the host; compare ours with PyTorch's output."""
    size = 64 if options.small else 640
    settings = benchmark.Settings(device=options.device, seconds=0.0 if options.small else 5.0)
    image = np.random.default_rng(0).random((1, 3, size, size), np.float32)
    calls, difference = {}, 0.0
    with tempfile.TemporaryDirectory() as folder:
        for name, config in names(scale).items():
            model = YOLO(config)
            file = export(model, folder, name, format="onnx", imgsz=size, device="cpu")
            session = onnxruntime.InferenceSession(file, providers=[PROVIDERS[options.device]])
            calls[name] = partial(session.run, None, {"images": image})
            if name == "ours":
                difference = distance(model, image, calls[name]()[0])
        return rows(PROVIDERS[options.device], scale, benchmark.time_in_turns(settings, calls), difference)


def with_tensorrt(options: Options, scale: str, half: bool) -> list[Row]:
    """Time both engines on images that lie on the device; compare ours with PyTorch's output."""
    settings = benchmark.Settings(device=options.device, seconds=5.0)
    image = torch.rand(1, 3, 640, 640, generator=torch.Generator().manual_seed(0)).to(options.device)
    calls: dict[str, Any] = {}
    difference = 0.0
    with tempfile.TemporaryDirectory() as folder:
        for name, config in names(scale).items():
            model = YOLO(config)
            file = export(model, folder, name, format="engine", imgsz=640, half=half, device=0)
            engine = AutoBackend(file, device=torch.device(options.device), fp16=half)
            calls[name] = partial(engine.forward, image.half() if half else image)
            if name == "ours":
                out = calls[name]()
                out = out[0] if isinstance(out, (list, tuple)) else out
                difference = distance(model, image.cpu().numpy(), out.float().cpu().numpy())
        return rows(f"TensorRT, half={half}", scale, benchmark.time_in_turns(settings, calls), difference)


def export(model: YOLO, folder: str, name: str, **arguments: Any) -> str:
    """Export a copy of the model's checkpoint in a folder, and return the file."""
    checkpoint = Path(folder, f"{name}.pt")
    model.save(str(checkpoint))
    return str(YOLO(checkpoint).export(verbose=False, **arguments))


def distance(model: YOLO, image: np.ndarray, out: np.ndarray) -> float:
    """Return the largest difference of a class score to PyTorch's."""
    with torch.no_grad():
        expected = model.model.cpu().float().eval()(torch.from_numpy(image))[0].numpy()
    return float(np.abs(expected - out)[:, 4:].max())
