"""The part "sizes" of scripts/benchmark.py, and its picture: what models cost by the size of the image.

python scripts/sizes.py sizes.csv sizes.png
"""

from __future__ import annotations

import math
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import contenders
import matplotlib.pyplot as plt
import polars as pl
import psutil
import torch
from measuring import Settings, in_turns, peak
from ratios import Row, ratios
from torch import Tensor
from ultralytics import YOLO

# Run in a process of its own, so that its largest resident memory is that of one model at one size.
ONE_RUN = """
import re, sys
import numpy, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
session.run(None, {"images": numpy.zeros((1, 3, int(sys.argv[2]), int(sys.argv[2])), numpy.float32)})
print(re.search(r"VmHWM:\\s*(\\d+)", open("/proc/self/status").read())[1])
"""


class Kind(NamedTuple):
    """A way to run a model.

    Attributes:
        load: Makes of a model YAML, and a folder for files, what is run.
        run: Runs that on an image.
        peak: Returns the bytes that a run of it takes at its peak.
    """

    load: Callable[[Settings, str, str], Any]
    run: Callable[[Any, Tensor], object]
    peak: Callable[[Settings, Any, Tensor, Callable[[], object]], float]


def sizes(settings: Settings) -> Iterator[Row]:
    """Measure models beside the stock ones of their families and scales, one image at a time.

    What does not fit into the memory has an infinite peak and no time.
    """
    if settings.device == "cpu":  # beyond it PyTorch raises an error, where the system would end the process
        resource.setrlimit(resource.RLIMIT_DATA, (psutil.virtual_memory().available, resource.RLIM_INFINITY))
    families: dict[str, list[str]] = {}
    for name in settings.models:
        families.setdefault(f"{Path(name).stem.partition('-')[0]}.yaml", []).append(name)
    for stock, twins in families.items():
        for name, kind in KINDS.items():
            if name == "onnxruntime" and settings.device != "cpu":
                continue
            with tempfile.TemporaryDirectory() as folder:
                loaded = {file: kind.load(settings, file, folder) for file in (*twins, stock)}
                for size in settings.pixels:
                    yield from _at_size(settings, name, stock, loaded, size)


def _at_size(settings: Settings, name: str, stock: str, loaded: dict[str, Any], size: int) -> Iterator[Row]:
    kind = KINDS[name]
    image = torch.rand(1, 3, size, size, device=settings.place)
    calls = {file: partial(kind.run, one, image) for file, one in loaded.items()}
    peaks = {file: kind.peak(settings, one, image, calls[file]) / 2**20 for file, one in loaded.items()}
    fitting = {file: call for file, call in calls.items() if math.isfinite(peaks[file])}
    times = in_turns(settings, fitting) if fitting else {}
    for twin in loaded:
        if twin == stock:
            continue
        where = f"{Path(twin).stem}, {size} pixels"
        yield from ratios(f"{name}, memory", where, {"ours": [peaks[twin]] * 2, "stock": [peaks[stock]] * 2}, "MiB")
        if {twin, stock} <= times.keys():
            yield from ratios(name, where, {"ours": times[twin], "stock": times[stock]})


def _fused(settings: Settings, name: str, _: str) -> Any:
    return YOLO(name).model.eval().fuse(verbose=False).to(settings.place)


def _in_training(settings: Settings, name: str, _: str) -> Any:
    return YOLO(name).model.train().to(settings.place)


def _exported(_: Settings, name: str, folder: str) -> Any:
    file = contenders.export(name, folder, dynamic=True, imgsz=640)
    kept = Path(file).rename(Path(folder, f"{Path(name).stem}-dynamic.onnx"))
    return contenders.opened(str(kept)), kept


def _forward(model: Any, image: Tensor) -> object:
    with torch.no_grad():
        return model(image)


def _step(model: Any, image: Tensor) -> None:
    model.zero_grad(set_to_none=True)
    sum(tensor.sum() for tensor in _tensors(model(image))).backward()


def _tensors(value: Any) -> list[Tensor]:
    """Return all tensors of a network's output, however nested."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        return [tensor for entry in value for tensor in _tensors(entry)]
    return [value] if isinstance(value, Tensor) and value.requires_grad else []


def _onnxruntime(exported: Any, image: Tensor) -> object:
    return contenders.runs(exported[0], image)()


def _allocated(settings: Settings, model: Any, _: Tensor, call: Callable[[], object]) -> float:
    """Return the peak of PyTorch's allocator, infinite if the memory does not suffice."""
    try:
        return peak(settings, call)
    except RuntimeError as error:
        if "memory" not in str(error):
            raise
        model.zero_grad(set_to_none=True)
        return math.inf


def _resident(_: Settings, exported: Any, image: Tensor, __: Callable[[], object]) -> float:
    """Return the largest resident memory of a process that runs the model once."""
    command = [sys.executable, "-c", ONE_RUN, exported[1], str(image.shape[-1])]
    return 2**10 * int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


KINDS = {
    "forward": Kind(_fused, _forward, _allocated),
    "step": Kind(_in_training, _step, _allocated),
    "onnxruntime": Kind(_exported, _onnxruntime, _resident),
}


def draw(rows: str, picture: str) -> None:
    """Draw the ratios of a CSV file by the size of the image: rows are time and memory, columns the ways to run."""
    table = pl.read_csv(rows).filter(pl.col("where").str.ends_with("pixels"))
    names, pixels = (table["where"].str.extract(pattern) for pattern in (r"^(.*),", r"(\d+) pixels"))
    table = table.with_columns(model=names, pixels=pixels.cast(int)).filter(pl.col("ratio").is_finite())
    figure, axes = plt.subplots(2, len(KINDS), figsize=(12, 6.5), sharex=True, sharey="row", layout="constrained")
    for column, kind in enumerate(KINDS):
        for row, (what, label) in enumerate(((kind, "time"), (f"{kind}, memory", "peak memory"))):
            axis = axes[row, column]
            axis.axhline(1, color="black", linewidth=0.8)
            for name, of_model in table.filter(pl.col("what") == what).group_by("model", maintain_order=True):
                axis.plot(of_model["pixels"], of_model["ratio"], marker="o", markersize=3, label=name[0])
            axis.set(title=f"{kind}: {label}", xlabel="pixels" if row else None)
            axis.grid(alpha=0.3)
        axes[0, 0].set_ylabel("of the stock model's time")
        axes[1, 0].set_ylabel("of the stock model's peak memory")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    figure.savefig(picture, dpi=110)


if __name__ == "__main__":
    draw(*sys.argv[1:])
