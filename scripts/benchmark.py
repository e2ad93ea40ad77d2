"""Measure the time and memory of FocalModulation and the start-up time of the hook, compared with alternatives.

python scripts/benchmark.py [part=module,memory,collection,model,backbone,area,net,hook] [device=cpu] [dtype=float32]
    [threads=2] [seconds=4] [dims=256,512,576,640] [sizes=20,40,80] [batches=1,16] [scales=n,s,m]
    [nets=tiny,base] [pixels=224,640] [save=benchmark.csv] [layout=contiguous] [mode=eager]

The compared implementations are timed in one process, one call of each per round; the ratio is computed in each round,
and the table has its median and quartiles over the rounds. `part` takes one or several of:

module      FocalModulation, timm's, Hugging Face transformers' and Ultralytics' SPPF, and the fraction that
            FocalModulation reaches of the machine's matrix product and copy rates
memory      peak memory of the same modules
collection  time and peak memory of each module of yolo_focal.collection and of what it stands beside or replaces
model       a whole YOLOv8 with FocalModulation and stock YOLOv8, in PyTorch and in onnxruntime
backbone    the same for FocalNet in the place of the backbone
area        the model with FocalModulation from 320 to 1280 pixels
net         FocalNet (large receptive fields, without a classifier's head) of this package, of timm and of transformers:
            batches of 8 up to 224 pixels, single images above
hook        starting Python with the package's entry point and without

Data types other than float32 run under autocast. `layout=channels_last` takes maps and weights in that memory format,
and `mode=compiled` compiles each module (torch.compile): both for the parts module and memory. On a GPU, times are
those between two CUDA events.
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

Functions = dict[str, Callable[[], object]]
MIN_ROUNDS = 3
LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


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
    scales: list[str] = field(default_factory=lambda: ["n", "s", "m"])
    nets: list[str] = field(default_factory=lambda: ["tiny", "base"])
    pixels: list[int] = field(default_factory=lambda: [224, 640])
    save: str = "benchmark.csv"
    layout: str = "contiguous"
    mode: str = "eager"


@dataclass
class Row:
    """A measurement: the ratio of ours to another, with both medians. Its fields are the columns of the CSV file."""

    what: str
    where: str
    unit: str
    ours: float
    other: str
    others: float
    ratio: float
    low: float
    high: float
    rounds: int


Job = Callable[[], list[Row]]
Jobs = Callable[[Settings], Iterator[Job]]


def main(arguments: list[str]) -> None:
    """Run the requested parts; print their tables and write all rows to a CSV file."""
    settings = parse(arguments)
    torch.set_num_threads(settings.threads)
    jobs = [(part, job) for part in settings.part for job in PARTS[part](settings)]
    rows: list[Row] = []
    # Each row is written as soon as it is measured, so that an interruption loses nothing.
    with Path(settings.save).open("w", newline="") as file, tqdm(jobs, unit="job") as progress:
        writer = csv.writer(file)
        writer.writerow([f.name for f in fields(Row)])
        for part, job in progress:
            progress.set_description(part)
            for row in job():
                rows.append(row)
                writer.writerow(astuple(row))
            file.flush()
    print(table(rows))
    print(f"{len(rows)} rows in {settings.save}")


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
    for part in values["part"]:
        if part not in PARTS:
            raise SystemExit(f"part={part}: write one or several of {','.join(PARTS)}")
    for net in values["nets"]:
        if net not in NETS:
            raise SystemExit(f"nets={net}: write one or several of {','.join(NETS)}")
    if values["dtype"] not in ("float32", "bfloat16", "float16"):
        raise SystemExit(f"dtype={values['dtype']}: write float32, bfloat16 or float16")
    for key, choices in (("layout", [*LAYOUTS]), ("mode", ["eager", "compiled"])):
        if values[key] not in choices:
            raise SystemExit(f"{key}={values[key]}: write {' or '.join(choices)}")
    if values["device"] == "cuda" and not torch.cuda.is_available():
        raise SystemExit("device=cuda: this machine has no CUDA device; write device=cpu")
    return Settings(**values)


def time_in_turns(settings: Settings, functions: Functions) -> dict[str, list[float]]:
    """Time each function once per round, in random order; return the seconds of all rounds by name."""
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for call in functions.values():
        timed(settings, call)
    started, order = time.perf_counter(), list(functions)
    while time.perf_counter() - started < settings.seconds or len(seconds[order[0]]) < MIN_ROUNDS:
        random.shuffle(order)
        for name in order:
            seconds[name].append(timed(settings, functions[name]))
    return seconds


def timed(settings: Settings, call: Callable[[], object]) -> float:
    """Return the seconds that a call takes, on a GPU between two of the device's events."""
    if settings.device != "cuda":
        before = time.perf_counter()
        call()
        return time.perf_counter() - before
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    start.record()
    call()
    end.record()
    torch.cuda.synchronize()
    milliseconds: float = start.elapsed_time(end)
    return milliseconds / 1e3


def compare(what: str, where: str, seconds: dict[str, list[float]]) -> list[Row]:
    """Return a row for each series of timings but the first, which is ours."""
    series = {name: [1e3 * t for t in times] for name, times in seconds.items()}
    (_, ours), *others = series.items()
    return [ratio_of(what, where, "ms", ours, name, theirs) for name, theirs in others]


def ratio_of(what: str, where: str, unit: str, ours: list[float], other: str, others: list[float]) -> Row:
    """Compute the ratio in each round; return its quartiles and both medians."""
    low, ratio, high = statistics.quantiles([a / b for a, b in zip(ours, others)], n=4)
    return Row(
        what, where, unit, statistics.median(ours), other, statistics.median(others), ratio, low, high, len(ours)
    )


class HuggingFace(nn.Module):
    """The module of transformers between two permutations, because it takes channels last."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.module = FocalNetModulation(FocalNetConfig(focal_levels=[2], focal_windows=[7]), 0, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Return the modulated feature map, `(B, C, H, W)` like the input."""
        result: Tensor = self.module(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return result


def modules(settings: Settings, dim: int) -> dict[str, nn.Module]:
    """Return our module, then those that it is compared with."""
    by_name: dict[str, nn.Module] = {
        "ours": FocalModulation(dim),
        "timm": TimmFocalModulation(dim, 7, 2),
        "transformers": HuggingFace(dim),
        "SPPF": SPPF(dim, dim, 5),
    }
    placed = {
        name: module.to(settings.device, memory_format=LAYOUTS[settings.layout]) for name, module in by_name.items()
    }
    if settings.mode == "eager":
        return placed
    torch.compiler.reset()  # a shape of its own each time, and no code for many of them
    return {name: torch.compile(module, dynamic=False) for name, module in placed.items()}


def maps(settings: Settings, dim: int, size: int, batch: int) -> Tensor:
    """Return random feature maps."""
    x = torch.randn(batch, dim, size, size, device=settings.device)
    return x.contiguous(memory_format=LAYOUTS[settings.layout])


def precision(settings: Settings) -> torch.autocast | nullcontext[None]:
    """Return the context of autocast to the requested dtype, or a null context for float32."""
    if settings.dtype == "float32":
        return nullcontext()
    return torch.autocast(settings.device, getattr(torch, settings.dtype))


def over_shapes(measure: Callable[[Settings, int, int, int], list[Row]]) -> Jobs:
    """Return a part that runs a measurement for each batch size, feature map size and dim."""

    def jobs(settings: Settings) -> Iterator[Job]:
        for batch, size, dim in itertools.product(settings.batches, settings.sizes, settings.dims):
            yield partial(measure, settings, dim, size, batch)

    return jobs


def passes_of(settings: Settings, kind: str, by_name: dict[str, nn.Module], x: Tensor) -> Functions:
    """Return a call of each module: "forward", in evaluation mode without gradients, or "step", with the backward."""
    gradient = torch.randn_like(x)

    def forward(module: nn.Module) -> object:
        with torch.no_grad(), precision(settings):
            return module(x)

    def call(module: nn.Module) -> object:
        return forward(module.eval()) if kind == "forward" else step(settings, module.train(), x, gradient)

    return {name: partial(call, module) for name, module in by_name.items()}


def time_modules(settings: Settings, dim: int, size: int, batch: int) -> list[Row]:
    """Time forward passes, then steps."""
    x = maps(settings, dim, size, batch)
    where = f"dim {dim}, {size}x{size}, batch {batch}"
    rows = []
    for kind, passes in (("forward", 1), ("step", 3)):
        functions = passes_of(settings, kind, modules(settings, dim), x)
        seconds = time_in_turns(settings, {**functions, **probes(settings)})
        module_seconds = {name: seconds[name] for name in functions}
        rows += compare(kind, where, module_seconds)
        # Floating-point operations of the 1x1 and the two depthwise convolutions; input and output transferred once.
        work = passes * 2 * x.numel() * (4 * dim + 3 + 7 * 7 + 9 * 9) / 1e9
        traffic = passes * 2 * x.numel() * x.element_size() / 1e9
        rows.append(rate_of_probe(f"{kind}, work", where, "GFLOP/s", work, "product", PRODUCT, seconds))
        rows.append(rate_of_probe(f"{kind}, traffic", where, "GB/s", traffic, "copy", COPY, seconds))
    return rows


# Work of one call of a probe: GFLOP of a product of two square matrices, GB read and written by a copy.
SIDE, ELEMENTS = 1024, 2**24
PRODUCT, COPY = 2 * SIDE**3 / 1e9, 2 * 4 * ELEMENTS / 1e9


def probes(settings: Settings) -> Functions:
    """Return a matrix product and a copy in float32, which measure the machine's speed in the same rounds."""
    a, b = torch.randn(2, SIDE, SIDE, device=settings.device)
    source = torch.randn(ELEMENTS, device=settings.device)
    product, target = torch.empty_like(a), torch.empty_like(source)
    return {"product": lambda: torch.mm(a, b, out=product), "copy": lambda: target.copy_(source)}


def rate_of_probe(
    what: str, where: str, unit: str, work: float, probe: str, probe_work: float, seconds: dict[str, list[float]]
) -> Row:
    """Compare the rate of our module, work per second, with a probe's."""
    rates, limits = [work / t for t in seconds["ours"]], [probe_work / t for t in seconds[probe]]
    return ratio_of(what, where, unit, rates, probe, limits)


def step(settings: Settings, module: nn.Module, x: Tensor, gradient: Tensor) -> None:
    """Run forward and backward, with gradients of the input and all parameters, as inside a network."""
    module.zero_grad(set_to_none=True)
    with precision(settings):
        out = module(x.detach().requires_grad_())
    out.backward(gradient.to(out.dtype))


def measure_memory(settings: Settings, dim: int, size: int, batch: int) -> list[Row]:
    """Compare the peak of PyTorch's allocator in a step, including the input and the output's gradient."""
    x = maps(settings, dim, size, batch)
    return peaks_of(settings, "memory", f"dim {dim}, {size}x{size}, batch {batch}", modules(settings, dim), x)


def peaks_of(settings: Settings, what: str, where: str, by_name: dict[str, nn.Module], x: Tensor) -> list[Row]:
    """Return a row for the peak of each module but the first, which is ours."""
    gradient = torch.randn_like(x)
    input_bytes = 2 * x.numel() * x.element_size()
    peaks = []
    for module in by_name.values():
        step(settings, module, x, gradient)
        module.zero_grad(set_to_none=True)
        peaks.append((input_bytes + peak_of(settings, lambda m=module: step(settings, m, x, gradient))) / 2**20)
    ours, *others = peaks
    _, *names = by_name
    return [Row(what, where, "MiB", ours, n, p, ours / p, ours / p, ours / p, 1) for n, p in zip(names, others)]


# What each module of the collection replaces; for those that keep their channels, the layer that stands at the end of
# the backbone.
STANDS_FOR: dict[str, Callable[[int], nn.Module]] = {
    "EMA": lambda c: SPPF(c, c, 5),
    "MSDA": lambda c: SPPF(c, c, 5),
    "CAFM": lambda c: SPPF(c, c, 5),
    "MSFN": lambda c: SPPF(c, c, 5),
    "ODConv": lambda c: Conv(c, c, 3),
    "DynamicConv": lambda c: Conv(c, c, 1),
    "DySnakeConv": lambda c: Conv(c, c, 3),
    "C2fDynamic": lambda c: C2f(c, c, 1, True),
    "C2fSnake": lambda c: C2f(c, c, 1, True),
}


def measure_collection(settings: Settings, dim: int, size: int, batch: int) -> list[Row]:
    """Compare time and peak memory of each module of the collection with what it stands for."""
    x = torch.randn(batch, dim, size, size, device=settings.device)
    where = f"dim {dim}, {size}x{size}, batch {batch}"
    rows = []
    for name, other in STANDS_FOR.items():
        module = getattr(collection, name)
        ours = module(dim, dim, 1, True) if name.startswith("C2f") else module(*((dim,) * (1 + ("Conv" in name))))
        theirs = other(dim)
        by_name = {name: ours.to(settings.device), type(theirs).__name__: theirs.to(settings.device)}
        for kind in ("forward", "step"):
            seconds = time_in_turns(settings, passes_of(settings, kind, by_name, x))
            rows += compare(f"{name}, {kind}", where, seconds)
        rows += peaks_of(settings, f"{name}, memory", where, by_name, x)
    return rows


def peak_of(settings: Settings, call: Callable[[], None]) -> int:
    """Return the peak of the bytes that are allocated during a call, less those allocated before it."""
    if settings.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        call()
        return torch.cuda.max_memory_allocated() - before
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profiler:
        call()
    events = [e for e in profiler.profiler.kineto_results.events() if e.name() == "[memory]"]
    allocated = peak = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        allocated += event.nbytes()
        peak = max(peak, allocated)
    return peak


def model_jobs(settings: Settings) -> Iterator[Job]:
    """Yield the measurements of whole models at 640 pixels."""
    for scale in settings.scales:
        yield partial(time_models, settings, "focal", scale, 640)


def backbone_jobs(settings: Settings) -> Iterator[Job]:
    """Yield the measurements of YOLOv8 with FocalNet as its backbone."""
    for scale in settings.scales:
        yield partial(time_models, settings, "focalnet", scale, 640)


def area_jobs(settings: Settings) -> Iterator[Job]:
    """Yield the measurements of the smallest model at image sizes whose areas range from 1 to 16."""
    for size in (320, 480, 640, 960, 1280):
        yield partial(time_models, settings, "focal", "n", size)


def time_models(settings: Settings, kind: str, scale: str, size: int) -> list[Row]:
    """Time a packaged model and the stock model: fused as for prediction, then exported to ONNX."""
    names = {"ours": f"yolov8{scale}-{kind}.yaml", "stock": f"yolov8{scale}.yaml"}
    image = torch.rand(1, 3, size, size, device=settings.device)
    where = f"YOLOv8{scale}-{kind}, {size} pixels"
    with torch.no_grad():
        models = {name: YOLO(file).model.to(settings.device).eval().fuse(verbose=False) for name, file in names.items()}
        calls = {name: lambda m=model: m(image) for name, model in models.items()}
        rows = compare("model, PyTorch", where, time_in_turns(settings, calls))
        if settings.device != "cpu":
            return rows
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = settings.threads
        sessions = {
            name: onnxruntime.InferenceSession(exported(file, size), options, providers=["CPUExecutionProvider"])
            for name, file in names.items()
        }
        feed = {"images": image.numpy()}
        calls = {name: lambda s=session: s.run(None, feed) for name, session in sessions.items()}
        return rows + compare("model, onnxruntime", where, time_in_turns(settings, calls))


def exported(config: str, size: int) -> bytes:
    """Export a model to ONNX as `yolo export` does, in a temporary folder, and return the file's content."""
    previous = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)  # Ultralytics writes to the working directory
        try:
            return Path(YOLO(config).export(format="onnx", imgsz=size, verbose=False)).read_bytes()
        finally:
            os.chdir(previous)


# Channels and depths of the variants.
NETS = {"tiny": (96, (2, 2, 6, 2)), "small": (96, (2, 2, 18, 2)), "base": (128, (2, 2, 18, 2))}


def net_jobs(settings: Settings) -> Iterator[Job]:
    """Yield the measurements of FocalNet."""
    for net, pixels in itertools.product(settings.nets, settings.pixels):
        yield partial(time_nets, settings, net, pixels)


class HuggingFaceNet(nn.Module):
    """The FocalNet of transformers, which returns its last map and more in a structure."""

    def __init__(self, channels: int, depths: tuple[int, ...]) -> None:
        super().__init__()
        config = FocalNetConfig(
            embed_dim=channels,
            hidden_sizes=[channels * 2**stage for stage in range(4)],
            depths=[*depths],
            focal_levels=[3] * 4,
            focal_windows=[3] * 4,
            drop_path_rate=0.0,
        )
        self.model = FocalNetModel(config, add_pooling_layer=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the last map, `(B, H * W, C)`."""
        last: Tensor = self.model(x).last_hidden_state
        return last


def time_nets(settings: Settings, net: str, pixels: int) -> list[Row]:
    """Time forward passes and steps of a FocalNet up to its last norm."""
    channels, depths = NETS[net]
    widths = [3, *(channels * 2**stage for stage in range(4))]
    layers = [
        layer
        for stage, (c1, c2, depth) in enumerate(zip(widths, widths[1:], depths))
        for layer in (FocalEmbed(c1, c2, 2 if stage else 4), FocalStage(c2, depth, focal_level=3))
    ]
    nets: dict[str, nn.Module] = {
        "ours": nn.Sequential(*layers, FocalNorm(widths[-1])),
        "timm": timm.create_model(f"focalnet_{net}_lrf", num_classes=0, global_pool="", drop_path_rate=0.0),
        "transformers": HuggingFaceNet(channels, depths),
    }
    batch = 8 if pixels <= 224 else 1
    for module in nets.values():
        module.to(settings.device)
    image = torch.rand(batch, 3, pixels, pixels, device=settings.device)

    def forward(module: nn.Module) -> object:
        with torch.no_grad(), precision(settings):
            return module(image)

    def train(module: nn.Module) -> None:
        module.zero_grad(set_to_none=True)
        with precision(settings):
            out = module(image)
        out.float().square().mean().backward()

    where = f"FocalNet {net}, {pixels} pixels, batch {batch}"
    rows = []
    for what, run in (("net forward", forward), ("net step", train)):
        calls = {name: lambda m=module, run=run: run(m) for name, module in nets.items()}
        rows += compare(what, where, time_in_turns(settings, calls))
    return rows


def hook_jobs(settings: Settings) -> Iterator[Job]:
    """Yield the measurements of starting Python, with torch's entry points and without."""
    commands = {
        "import torch": [sys.executable, "-c", "import torch"],
        "import ultralytics": [sys.executable, "-c", "from ultralytics import YOLO"],
        "import yolo_focal": [sys.executable, "-c", "import yolo_focal"],
        "yolo version": [str(Path(sys.executable).with_name("yolo")), "version"],
    }
    for what, command in commands.items():
        yield partial(time_start, settings, what, command)


def time_start(settings: Settings, what: str, command: list[str]) -> list[Row]:
    """Time a command in the current environment and in one where torch loads no entry points."""
    without = {**os.environ, "TORCH_DEVICE_BACKEND_AUTOLOAD": "0"}
    environments = {"with the hook": dict(os.environ), "without": without}
    calls = {
        name: lambda env=env: subprocess.run(command, env=env, check=True, stdout=subprocess.DEVNULL)
        for name, env in environments.items()
    }
    longer = Settings(seconds=5 * settings.seconds)
    return compare("start", what, time_in_turns(longer, calls))


def table(rows: list[Row]) -> str:
    """Return Markdown tables: a line for each measurement, then the geometric means of the ratios."""
    lines: dict[tuple[str, str], list[Row]] = {}
    means: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        lines.setdefault((row.what, row.where), []).append(row)
        means.setdefault((row.what, row.other), []).append(math.log(row.ratio))
    text = ["| what | where | ours | ratio to (quartiles of the rounds) |", "| --- | --- | ---: | --- |"]
    for (what, where), group in lines.items():
        ratios = ", ".join(f"{r.other} {r.ratio:.2f} ({r.low:.2f} to {r.high:.2f})" for r in group)
        text.append(f"| {what} | {where} | {group[0].ours:.4g} {group[0].unit} | {ratios} |")
    text += ["", "| what | to | geometric mean of the ratios | rows |", "| --- | --- | ---: | ---: |"]
    for (what, other), logs in means.items():
        text.append(f"| {what} | {other} | {math.exp(statistics.mean(logs)):.3f} | {len(logs)} |")
    return "\n".join(text)


PARTS: dict[str, Jobs] = {
    "module": over_shapes(time_modules),
    "memory": over_shapes(measure_memory),
    "collection": over_shapes(measure_collection),
    "model": model_jobs,
    "backbone": backbone_jobs,
    "area": area_jobs,
    "net": net_jobs,
    "hook": hook_jobs,
}

if __name__ == "__main__":
    main(sys.argv[1:])
