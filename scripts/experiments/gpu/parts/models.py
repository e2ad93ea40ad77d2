"""YOLOv8-focal beside stock YOLOv8: forward pass and training step in turns, then `yolo train` itself."""

from __future__ import annotations

import csv
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import benchmark
import torch
from results import Job, Options, Row
from ultralytics import YOLO
from ultralytics.cfg import get_cfg
from ultralytics.utils import SETTINGS

IMAGES = 480  # of cfg/shapes.yaml, to train on
YOLO_COMMAND = (sys.executable, "-c", "from ultralytics.cfg import entrypoint; entrypoint()")


def jobs(options: Options) -> Iterator[tuple[str, Job]]:
    """Yield the models from small to large."""
    scales = "n" if options.small else "nsmlx"
    for scale in scales:
        yield f"YOLOv8{scale}, one image and a step", partial(in_turns, options, scale)
    for scale in scales:
        for name in (f"yolov8{scale}-focal.yaml", f"yolov8{scale}.yaml")[: 1 if options.small else 2]:
            yield f"yolo train model={name}", partial(train, options, name)


def in_turns(options: Options, scale: str) -> list[Row]:
    """Time both models: fused and in half precision as for prediction, then a training step under autocast."""
    settings = benchmark.Settings(device=options.device, dtype="float16", seconds=0.0 if options.small else 4.0)
    names = {"ours": f"yolov8{scale}-focal.yaml", "stock": f"yolov8{scale}.yaml"}
    size, batch = (64, 2) if options.small else (640, 16)
    half = torch.float16 if options.device == "cuda" else torch.float32
    models = {name: YOLO(file).model.to(options.device) for name, file in names.items()}
    rows = []
    images = torch.rand(batch, 3, size, size, device=options.device)
    for layout in ("contiguous", "channels_last"):
        place = {"memory_format": benchmark.LAYOUTS[layout]}
        calls = {
            name: partial(step, settings, model.to(**place), images.contiguous(**place))
            for name, model in models.items()
        }
        seconds = benchmark.time_in_turns(settings, calls)
        rows += shown(benchmark.compare(f"step, batch {batch}, {layout}", f"YOLOv8{scale}, {size} pixels", seconds))
    for layout in ("contiguous", "channels_last"):
        place = {"memory_format": benchmark.LAYOUTS[layout]}
        image = images[:1].to(half).contiguous(**place)
        fused = {name: YOLO(file).model.to(options.device).eval().fuse(verbose=False) for name, file in names.items()}
        calls = {name: partial(predict, model.to(half).to(**place), image) for name, model in fused.items()}
        seconds = benchmark.time_in_turns(settings, calls)
        rows += shown(benchmark.compare(f"one image, {half}, {layout}", f"YOLOv8{scale}, {size} pixels", seconds))
    return rows


def shown(rows: list[benchmark.Row]) -> list[Row]:
    """Return what a table shows of the rows."""
    return [
        {
            "what": r.what,
            "where": r.where,
            "ours, ms": r.ours,
            "stock, ms": r.others,
            "ratio": r.ratio,
            "quartiles": f"{r.low:.2f} to {r.high:.2f}",
        }
        for r in rows
    ]


def predict(model: Any, image: torch.Tensor) -> object:
    """Run the network on an image."""
    with torch.no_grad():
        return model(image)


def step(settings: benchmark.Settings, model: Any, images: torch.Tensor) -> None:
    """Run forward, loss and backward, as a training does, with eight boxes in each image."""
    boxes = 8
    model.train()
    model.args = get_cfg()
    model.zero_grad(set_to_none=True)
    number = len(images) * boxes
    batch = {
        "img": images,
        "cls": torch.zeros(number, 1, device=images.device),
        "bboxes": torch.tensor([[0.5, 0.5, 0.3, 0.3]], device=images.device).repeat(number, 1),
        "batch_idx": torch.arange(len(images), device=images.device).repeat_interleave(boxes),
    }
    with benchmark.precision(settings):
        loss, _ = model(batch)
    loss.sum().backward()


def train(options: Options, name: str) -> list[Row]:
    """Train with the stock command for three epochs; the second one's time counts, as the first one starts up."""
    small = ("imgsz=64", "fraction=0.1", "batch=8") if options.small else ("imgsz=640", "batch=16")
    device = options.ultralytics_device
    with tempfile.TemporaryDirectory() as folder:
        arguments = ("train", f"model={name}", "data=shapes.yaml", "epochs=3", "val=False", "plots=False", "cache=ram")
        command = [*YOLO_COMMAND, *arguments, *small, f"device={device}", f"project={folder}", "name=train"]
        done = subprocess.run(
            command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"yolo train: exit status {done.returncode}: {done.stdout[-400:]}")
        with Path(folder, "train", "results.csv").open() as file:
            times = [float({key.strip(): value for key, value in row.items()}["time"]) for row in csv.DictReader(file)]
        weights = Path(folder, "train", "weights", "last.pt")
        latency = predict_times(options, weights)
    seconds = times[1] - times[0]
    images = int(IMAGES * 0.1) if options.small else IMAGES
    memory = re.findall(r"\s(\d[\d.]*G)\s", done.stdout)
    return [
        {
            "model": name,
            "train, images/s": images / seconds,
            "epoch, s": seconds,
            "predict, ms": latency,
            "GPU memory": memory[-1] if memory and options.device == "cuda" else "",
        }
    ]


def predict_times(options: Options, weights: Path) -> float:
    """Return the median milliseconds of the network in `predict`, over images of the data set."""
    model = YOLO(weights)
    source = sorted(Path(SETTINGS["datasets_dir"], "yolo-focal-shapes", "images", "val").iterdir())
    given = {"imgsz": 64 if options.small else 640, "device": options.ultralytics_device, "verbose": False}
    number = 5 if options.small else len(source)
    found = model.predict(source[:number], half=options.device == "cuda", stream=True, **given)
    return statistics.median(result.speed["inference"] for result in found)
