"""Measure time and memory of FocalModulation, of whole models, and the hook's start-up time, beside alternatives.

python scripts/benchmark.py [part=module,memory,collection,model,net,hook] [device=cpu] [dtype=float32] [threads=2]
    [seconds=4] [dims=256,512,576,640] [sizes=20,40,80] [batches=1,16] [models=yolov8n-focal.yaml]
    [nets=tiny,base] [pixels=640] [layout=contiguous] [mode=eager] [save=benchmark.csv]

module      FocalModulation, timm's, Hugging Face transformers' and Ultralytics' SPPF, forward and in a training step;
            and the fraction that ours reaches of the rate of the machine's matrix product
memory      the peak of a training step of the same modules
collection  time and peak memory of each module of yolo_focal.collection and of what it stands beside or replaces
model       the model YAMLs of models= beside the stock ones of the same scale: one image, in PyTorch, and on a CPU also
            in onnxruntime
net         FocalNet (large receptive fields, without a classifier's head) of this package, of timm and of transformers:
            batches of 8 up to 224 pixels, single images above
hook        starting Python with the package's entry point and without

What is compared is timed in one process, one call of each per round; the ratio is computed in each round. A row has its
median and quartiles; of several rows there is their geometric mean, with the smallest and the largest. device=0 is a
GPU, timed between two of its events. Data types other than float32 run under autocast; layout=channels_last takes maps
and weights in that memory format, and mode=compiled compiles the modules (torch.compile).
"""

from __future__ import annotations

import csv
import itertools
import math
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import asdict, astuple, dataclass, field, fields
from functools import partial
from pathlib import Path

import onnxruntime
import timm
import torch
from timm.models.focalnet import FocalModulation as TimmFocalModulation
from torch import Tensor, nn
from tqdm import tqdm
from transformers import FocalNetConfig, FocalNetModel
from transformers.models.focalnet.modeling_focalnet import FocalNetModulation
from ultralytics import YOLO
from ultralytics.nn.modules import SPPF, C2f, Conv

from yolo_focal import FocalModulation, collection
from yolo_focal.focal import FocalEmbed, FocalNorm, FocalStage

Calls = dict[str, Callable[[], object]]
Modules = dict[str, nn.Module]  # ours, then those that it is compared with
MIN_ROUNDS = 3
LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
NETS = {"tiny": (96, (2, 2, 6, 2)), "small": (96, (2, 2, 18, 2)), "base": (128, (2, 2, 18, 2))}  # channels, depths
SIDE = 1024  # of the matrices whose product measures the machine


@dataclass
class Settings:
    """The command line arguments; those that take several values are lists."""

    part: list[str] = field(default_factory=lambda: [*PARTS])
    device: str = "cpu"
    dtype: str = "float32"
    threads: int = 2
    seconds: float = 4.0
    dims: list[int] = field(default_factory=lambda: [256, 512, 576, 640])
    sizes: list[int] = field(default_factory=lambda: [20, 40, 80])
    batches: list[int] = field(default_factory=lambda: [1, 16])
    models: list[str] = field(default_factory=lambda: [f"yolov8{scale}-focal.yaml" for scale in "nsm"])
    nets: list[str] = field(default_factory=lambda: ["tiny", "base"])
    pixels: list[int] = field(default_factory=lambda: [640])
    layout: str = "contiguous"
    mode: str = "eager"
    save: str = "benchmark.csv"

    @property
    def place(self) -> torch.device:
        """The device as torch names it."""
        return torch.device("cpu" if self.device == "cpu" else f"cuda:{self.device}")

    def shapes(self) -> Iterator[tuple[str, int, Tensor]]:
        """Yield random feature maps, with what rows call them and their channels."""
        for batch, size, dim in itertools.product(self.batches, self.sizes, self.dims):
            x = torch.randn(batch, dim, size, size, device=self.place)
            yield f"dim {dim}, {size}x{size}, batch {batch}", dim, x.contiguous(memory_format=LAYOUTS[self.layout])

    def precision(self) -> torch.autocast | nullcontext[None]:
        """Return the context of autocast to the requested type, or a null context for float32."""
        return nullcontext() if self.dtype == "float32" else torch.autocast(self.place.type, getattr(torch, self.dtype))


@dataclass
class Row:
    """The ratio of ours to another, with both medians. Its fields are the columns of the CSV file."""

    what: str
    where: str
    unit: str
    ours: float | None
    other: str
    others: float | None
    ratio: float
    low: float
    high: float
    rounds: int


def main(arguments: list[str]) -> list[Row]:
    """Run the requested parts, write all rows to a CSV file, each when it is measured, and print them."""
    settings = parse(arguments)
    torch.set_num_threads(settings.threads)
    rows: list[Row] = []
    with Path(settings.save).open("w", newline="") as file, tqdm(unit=" rows") as progress:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([f.name for f in fields(Row)])
        for row in itertools.chain((row for part in settings.part for row in PARTS[part](settings)), means(rows)):
            rows.append(row)
            writer.writerow([f"{v:.5g}" if isinstance(v, float) else v for v in astuple(row)])
            file.flush()
            progress.update()
    print(table(rows))
    print(f"{len(rows)} rows in {settings.save}")
    return rows


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
        default = values[key]
        kind = type(default[0]) if isinstance(default, list) else type(default)
        try:
            values[key] = [kind(v) for v in text.split(",")] if isinstance(default, list) else kind(text)
        except ValueError:
            example = ",".join(map(str, default)) if isinstance(default, list) else default
            raise SystemExit(f"{argument}: write numbers, such as {key}={example}") from None
    gpus = [*map(str, range(torch.cuda.device_count()))]
    choices: dict[str, list[str]] = {
        "part": [*PARTS],
        "nets": [*NETS],
        "dtype": ["float32", "bfloat16", "float16"],
        "layout": [*LAYOUTS],
        "mode": ["eager", "compiled"],
        "device": ["cpu", *gpus],
    }
    for key, known in choices.items():
        several = isinstance(values[key], list)
        for value in values[key] if several else [values[key]]:
            if value not in known:
                raise SystemExit(f"{key}={value}: write {'some' if several else 'one'} of {','.join(known)}")
    return Settings(**values)


def in_turns(settings: Settings, calls: Calls) -> dict[str, list[float]]:
    """Time each call once per round, in random order; return the milliseconds of all rounds by name."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        timed(settings, call)
    started, order = time.perf_counter(), list(calls)
    while time.perf_counter() - started < settings.seconds or len(times[order[0]]) < MIN_ROUNDS:
        random.shuffle(order)
        for name in order:
            times[name].append(timed(settings, calls[name]))
    return times


def timed(settings: Settings, call: Callable[[], object]) -> float:
    """Return the milliseconds that a call takes, on a GPU between two of the device's events."""
    if settings.device == "cpu":
        before = time.perf_counter()
        call()
        return 1e3 * (time.perf_counter() - before)
    with torch.cuda.device(settings.place):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        call()
        end.record()
        torch.cuda.synchronize()
        return float(start.elapsed_time(end))


def ratios(what: str, where: str, times: dict[str, list[float]], unit: str = "ms") -> Iterator[Row]:
    """Yield a row for each series but the first, which is ours."""
    (_, ours), *others = times.items()
    for name, theirs in others:
        low, ratio, high = statistics.quantiles([a / b for a, b in zip(ours, theirs, strict=True)], n=4)
        medians = statistics.median(ours), statistics.median(theirs)
        yield Row(what, where, unit, medians[0], name, medians[1], ratio, low, high, len(ours))


def means(rows: list[Row]) -> Iterator[Row]:
    """Yield the geometric mean of the ratios, where there are several of the same things."""
    groups: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        groups.setdefault((row.what, row.other), []).append(row.ratio)
    for (what, other), group in groups.items():
        mean = math.exp(statistics.mean(map(math.log, group)))
        if len(group) > 1:
            yield Row(what, "geometric mean", "", None, other, None, mean, min(group), max(group), len(group))


def table(rows: list[Row]) -> str:
    """Return a Markdown table: a line for each measurement."""
    lines: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        lines.setdefault((row.what, row.where), []).append(row)
    text = ["| what | where | ours | ratio to |", "| --- | --- | ---: | --- |"]
    for (what, where), group in lines.items():
        listed = ", ".join(f"{r.other} {r.ratio:.2f} ({r.low:.2f} to {r.high:.2f})" for r in group)
        ours = "" if group[0].ours is None else f"{group[0].ours:.4g} {group[0].unit}"
        text.append(f"| {what} | {where} | {ours} | {listed} |")
    return "\n".join(text)


class HuggingFace(nn.Module):
    """The module of transformers between two permutations, because it takes channels last."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.module = FocalNetModulation(FocalNetConfig(focal_levels=[2], focal_windows=[7]), 0, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Return the modulated feature map, `(B, C, H, W)` like the input."""
        result: Tensor = self.module(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return result


def placed(settings: Settings, modules: Modules) -> Modules:
    """Return modules on the device, in the memory format and compiled, as requested."""
    for module in modules.values():
        module.to(settings.place, memory_format=LAYOUTS[settings.layout])
    if settings.mode == "eager":
        return modules
    torch.compiler.reset()  # a shape of its own each time, and no code for many of them
    return {name: torch.compile(module, dynamic=False) for name, module in modules.items()}


def contenders(settings: Settings, dim: int) -> Modules:
    """Return FocalModulation and what it is compared with."""
    others = {"timm": TimmFocalModulation(dim, 7, 2), "transformers": HuggingFace(dim), "SPPF": SPPF(dim, dim, 5)}
    return placed(settings, {"ours": FocalModulation(dim), **others})


def passes(settings: Settings, kind: str, modules: Modules, x: Tensor) -> Calls:
    """Return a call of each module: "forward", in evaluation mode without gradients, or "step", with the backward."""

    def forward(module: nn.Module) -> object:
        with torch.no_grad(), settings.precision():
            return module.eval()(x)

    call = forward if kind == "forward" else partial(step, settings, x)
    return {name: partial(call, module) for name, module in modules.items()}


def step(settings: Settings, x: Tensor, module: nn.Module) -> None:
    """Run forward and backward, with gradients of the input and all parameters, as inside a network."""
    module.train().zero_grad(set_to_none=True)
    with settings.precision():
        out = module(x.detach().requires_grad_())
    out.backward(x.to(out.dtype) if out.shape == x.shape else torch.ones_like(out))


def module(settings: Settings) -> Iterator[Row]:
    """Time forward passes and steps of FocalModulation."""
    a, b = torch.randn(2, SIDE, SIDE, device=settings.place)
    probe = {"product": partial(torch.mm, a, b)}
    for where, dim, x in settings.shapes():
        for kind, times_work in (("forward", 1), ("step", 3)):
            times = in_turns(settings, {**passes(settings, kind, contenders(settings, dim), x), **probe})
            product = times.pop("product")
            yield from ratios(kind, where, times)
            # Floating-point operations of the 1x1 and the two depthwise convolutions, per millisecond.
            work = times_work * 2 * x.numel() * (4 * dim + 3 + 7 * 7 + 9 * 9) / 1e6
            rates = [work / t for t in times["ours"]], [2 * SIDE**3 / 1e6 / t for t in product]
            yield from ratios(f"{kind}, work", where, dict(zip(("ours", "product"), rates, strict=True)), "GFLOP/s")


def memory(settings: Settings) -> Iterator[Row]:
    """Measure the peak memory of steps of FocalModulation."""
    for where, dim, x in settings.shapes():
        yield from peaks(settings, "memory", where, contenders(settings, dim), x)


def peaks(settings: Settings, what: str, where: str, modules: Modules, x: Tensor) -> Iterator[Row]:
    """Yield the peaks of PyTorch's allocator in a step, with the input and the output's gradient."""
    found = {}
    for name, run in passes(settings, "step", modules, x).items():
        run()
        modules[name].zero_grad(set_to_none=True)
        found[name] = [(2 * x.numel() * x.element_size() + peak(settings, run)) / 2**20] * 2
    yield from ratios(what, where, found, "MiB")


def peak(settings: Settings, call: Callable[[], object]) -> int:
    """Return the peak of the bytes that are allocated during a call, less those allocated before it."""
    if settings.device != "cpu":
        torch.cuda.reset_peak_memory_stats(settings.place)
        before = torch.cuda.memory_allocated(settings.place)
        call()
        return torch.cuda.max_memory_allocated(settings.place) - before
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profiler:
        call()
    events = [e for e in profiler.profiler.kineto_results.events() if e.name() == "[memory]"]
    return max(itertools.accumulate(e.nbytes() for e in sorted(events, key=lambda e: e.start_ns())))


# What each module of the collection replaces; for those that keep their channels, the layer that stands at the end of
# the backbone.
STANDS_FOR: dict[str, Callable[[int], nn.Module]] = {
    **dict.fromkeys(("EMA", "MSDA", "CAFM", "MSFN"), lambda c: SPPF(c, c, 5)),
    **dict.fromkeys(("ODConv", "DySnakeConv"), lambda c: Conv(c, c, 3)),
    "DynamicConv": lambda c: Conv(c, c, 1),
    **dict.fromkeys(("C2fDynamic", "C2fSnake"), lambda c: C2f(c, c, 1, True)),
}


def of_collection(settings: Settings) -> Iterator[Row]:
    """Compare time and peak memory of each module of the collection with what it stands for."""
    for (where, dim, x), (name, other) in itertools.product(settings.shapes(), STANDS_FOR.items()):
        given = (dim, dim, 1, True) if name.startswith("C2f") else (dim,) * (1 + ("Conv" in name))
        theirs = other(dim)
        pair = placed(settings, {name: getattr(collection, name)(*given), type(theirs).__name__: theirs})
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
            calls = {key: session(file, size, settings.threads, image) for key, file in files.items()}
            yield from ratios("model, onnxruntime", where, in_turns(settings, calls))


def session(config: str, size: int, threads: int, image: Tensor) -> Callable[[], object]:
    """Export a model to ONNX and return a call that runs it on an image."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    with tempfile.TemporaryDirectory() as folder:
        YOLO(config).save(f"{folder}/model.pt")
        exported = YOLO(f"{folder}/model.pt").export(format="onnx", imgsz=size, verbose=False)
        run = onnxruntime.InferenceSession(exported, options, providers=["CPUExecutionProvider"]).run
    return partial(run, None, {"images": image.numpy()})


class HuggingFaceNet(nn.Module):
    """The FocalNet of transformers, which returns its last map and more in a structure."""

    def __init__(self, channels: int, depths: tuple[int, ...]) -> None:
        super().__init__()
        shape = {"hidden_sizes": [channels * 2**stage for stage in range(4)], "depths": [*depths]}
        focal = {"focal_levels": [3] * 4, "focal_windows": [3] * 4, "drop_path_rate": 0.0}
        self.model = FocalNetModel(FocalNetConfig(embed_dim=channels, **shape, **focal), add_pooling_layer=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the last map, `(B, H * W, C)`."""
        last: Tensor = self.model(x).last_hidden_state
        return last


def net(settings: Settings) -> Iterator[Row]:
    """Time forward passes and steps of FocalNet up to its last norm."""
    for name, size in itertools.product(settings.nets, settings.pixels):
        channels, depths = NETS[name]
        widths = [3, *(channels * 2**stage for stage in range(4))]
        layers = [
            layer
            for stage, ((c1, c2), depth) in enumerate(zip(itertools.pairwise(widths), depths, strict=True))
            for layer in (FocalEmbed(c1, c2, 2 if stage else 4), FocalStage(c2, depth, focal_level=3))
        ]
        theirs = timm.create_model(f"focalnet_{name}_lrf", num_classes=0, global_pool="", drop_path_rate=0.0)
        ours = nn.Sequential(*layers, FocalNorm(widths[-1]))
        nets = placed(settings, {"ours": ours, "timm": theirs, "transformers": HuggingFaceNet(channels, depths)})
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
    "memory": memory,
    "collection": of_collection,
    "model": model,
    "net": net,
    "hook": hook,
}

if __name__ == "__main__":
    main(sys.argv[1:])
