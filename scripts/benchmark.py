"""Measure time and memory of FocalModulation, of whole models, and the hook's start-up time, beside alternatives.

python scripts/benchmark.py [part=module,collection,model,net,hook,sizes] [device=cpu] [dtype=float32] [seconds=4]
    [dims=256,512,576,640] [sizes=20,40,80] [batches=1,16] [models=yolov8n-focal.yaml] [pixels=640] [layout=contiguous]
    [mode=eager] [save=benchmark.csv]

module      FocalModulation, timm's, Hugging Face transformers' and Ultralytics' SPPF, forward and in a training step,
            the peak memory of a step, and the fraction that ours reaches of the rate of the machine's matrix product
collection  the same of each module of yolo_focal.collection and of what it stands beside or replaces
model       the model YAMLs of models= beside the stock ones of the same scale: one image, in PyTorch, and on a CPU also
            in onnxruntime
sizes       only if it is named: time and peak memory of the model YAMLs of models= and of the stock ones by the size of
            the image, in the forward pass, in a step without loss and optimizer, and in onnxruntime
net         FocalNet tiny and base (large receptive fields, without a classifier's head) of this package, of timm and of
            transformers: batches of 8 up to 224 pixels, single images above
hook        starting Python with the package's entry point and without

What is compared is timed in one process, one call of each per round; the ratio is computed in each round. A row has its
median and quartiles; of several rows there is their geometric mean, with the smallest and the largest. device=0 is a
GPU. Data types other than float32 run under autocast; layout=channels_last takes maps
and weights in that memory format, and mode=compiled compiles the modules (torch.compile). OMP_NUM_THREADS=2 has
PyTorch and onnxruntime compute with two threads.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path

import contenders
import polars as pl
import torch
from contenders import NETS, STANDS_FOR
from measuring import LAYOUTS, Settings, in_turns, passes, peaks, placed
from ratios import Row, ratios, with_means
from sizes import sizes
from tqdm import tqdm
from ultralytics import YOLO

SIDE = 1024  # of the matrices whose product measures the machine


def main(arguments: list[str]) -> pl.DataFrame:
    """Run the requested parts, write all rows to a CSV file, each when it is measured, and print them."""
    settings = parse(arguments)
    rows: list[Row] = []
    for row in tqdm((row for part in settings.part for row in PARTS[part](settings)), unit=" rows"):
        rows.append(row)
        table = with_means(pl.DataFrame(rows, orient="row"))
        table.write_csv(settings.save)
    whole = {"tbl_rows": -1, "tbl_cols": -1, "tbl_width_chars": 999, "fmt_str_lengths": 99}
    with pl.Config(tbl_formatting="MARKDOWN", tbl_hide_column_data_types=True, **whole):
        print(table)
    return table


def parse(arguments: list[str]) -> Settings:
    """Parse `key=value` arguments.

    Raises:
        SystemExit: A key or a value is invalid.
    """
    values = asdict(Settings())
    for argument in arguments:
        key, equals, text = argument.partition("=")
        if not equals or key not in values:
            raise SystemExit(f"{argument}: write key=value, with a key of {', '.join(values)}")
        several = isinstance(values[key], list)
        default = values[key][0] if several else values[key]
        given = text.split(",") if several else [text]
        for value in given:
            if key in CHOICES and value not in CHOICES[key]:
                raise SystemExit(f"{key}={value}: write {'some' if several else 'one'} of {','.join(CHOICES[key])}")
        try:
            values[key] = [type(default)(value) for value in given] if several else type(default)(text)
        except ValueError:
            raise SystemExit(f"{argument}: write numbers, such as {key}={default}") from None
    return Settings(**values)


def module(settings: Settings) -> Iterator[Row]:
    """Time forward passes and steps of FocalModulation, and measure the steps' memory."""
    a, b = torch.randn(2, SIDE, SIDE, device=settings.place)
    probe = {"product": partial(torch.mm, a, b)}
    for where, dim, x in settings.shapes():
        modules = placed(settings, contenders.focal_modulations(dim))
        for kind, times_work in (("forward", 1), ("step", 3)):
            times = in_turns(settings, {**passes(settings, kind, modules, x), **probe})
            product = times.pop("product")
            yield from ratios(kind, where, times)
            # Floating-point operations of the 1x1 and the two depthwise convolutions, per millisecond.
            work = times_work * 2 * x.numel() * (4 * dim + 3 + 7 * 7 + 9 * 9) / 1e6
            rates = {"ours": [work / t for t in times["ours"]], "product": [2 * SIDE**3 / 1e6 / t for t in product]}
            yield from ratios(f"{kind}, work", where, rates, "GFLOP/s")
        yield from peaks(settings, "memory", where, modules, x)


def of_collection(settings: Settings) -> Iterator[Row]:
    """Compare time and peak memory of each module of the collection with what it stands for."""
    for (where, dim, x), name in itertools.product(settings.shapes(), STANDS_FOR):
        pair = placed(settings, contenders.of_collection(name, dim))
        for kind in ("forward", "step"):
            yield from ratios(f"{name}, {kind}", where, in_turns(settings, passes(settings, kind, pair, x)))
        yield from peaks(settings, f"{name}, memory", where, pair, x)


def model(settings: Settings) -> Iterator[Row]:
    """Time models and stock ones, fused as for prediction, then exported to ONNX as `yolo export` does."""
    for name, size in itertools.product(settings.models, settings.pixels):
        files = {"ours": name, "stock": f"{Path(name).stem.partition('-')[0]}.yaml"}
        image = torch.rand(1, 3, size, size).to(settings.place, memory_format=LAYOUTS[settings.layout])
        where = f"{Path(name).stem}, {size} pixels"
        fused = {key: YOLO(file).model.eval().fuse(verbose=False) for key, file in files.items()}
        calls = passes(settings, "forward", placed(settings, fused), image)
        yield from ratios("model, PyTorch", where, in_turns(settings, calls))
        if settings.device == "cpu":
            calls = {key: contenders.session(file, size, image) for key, file in files.items()}
            yield from ratios("model, onnxruntime", where, in_turns(settings, calls))


def net(settings: Settings) -> Iterator[Row]:
    """Time forward passes and steps of FocalNet up to its last norm."""
    for name, size in itertools.product(NETS, settings.pixels):
        nets = placed(settings, contenders.focal_nets(name))
        batch = 8 if size <= 224 else 1
        images = torch.rand(batch, 3, size, size, device=settings.place)
        for kind in ("forward", "step"):
            where = f"FocalNet {name}, {size} pixels, batch {batch}"
            yield from ratios(f"net {kind}", where, in_turns(settings, passes(settings, kind, nets, images)))


def hook(settings: Settings) -> Iterator[Row]:
    """Time commands in the current environment and in one where torch loads no entry points."""
    commands = {
        "import torch": [sys.executable, "-c", "import torch"],
        "import ultralytics": [sys.executable, "-c", "from ultralytics import YOLO"],
        "import yolo_focal": [sys.executable, "-c", "import yolo_focal"],
        "yolo version": [str(Path(sys.executable).with_name("yolo")), "version"],
    }
    without = {**os.environ, "TORCH_DEVICE_BACKEND_AUTOLOAD": "0"}
    for what, command in commands.items():
        run = partial(subprocess.run, command, check=True, stdout=subprocess.DEVNULL)
        calls = {"with the hook": run, "without": partial(run, env=without)}
        yield from ratios("start", what, in_turns(Settings(seconds=5 * settings.seconds), calls))


PARTS: dict[str, Callable[[Settings], Iterator[Row]]] = {
    "module": module,
    "collection": of_collection,
    "model": model,
    "sizes": sizes,
    "net": net,
    "hook": hook,
}

CHOICES = {
    "part": [*PARTS],
    "dtype": ["float32", "bfloat16", "float16"],
    "layout": [*LAYOUTS],
    "mode": ["eager", "compiled"],
    "device": ["cpu", *map(str, range(torch.cuda.device_count()))],
}

if __name__ == "__main__":
    main(sys.argv[1:])
