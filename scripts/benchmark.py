"""Measure what FocalModulation and the hook cost, beside what else there is.

python scripts/benchmark.py [part=module,memory,model,area,hook] [device=cpu] [dtype=float32] [threads=2] [seconds=4]
    [dims=256,512,576,640] [sizes=20,40,80] [batches=1,16] [scales=n,s,m] [save=benchmark.csv]

Contenders are timed in turn, one call each a round, in one process; a ratio is taken in each round, and the table has
the median over the rounds with the quartiles. `part` takes several, with commas. `module` and `memory` hold
FocalModulation beside timm's, Hugging Face transformers' and Ultralytics' SPPF, `module` also the share that it reaches
of the machine's own matrix product and copy; `model` a whole YOLOv8 with FocalModulation beside stock YOLOv8, in
PyTorch and in onnxruntime; `area` the same from 320 to 1280 pixels; `hook` a start of Python with the package's entry
point beside one without. Types other than float32 run under autocast.
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
import torch
from timm.models.focalnet import FocalModulation as TimmFocalModulation
from torch import Tensor, nn
from tqdm import tqdm
from transformers import FocalNetConfig
from transformers.models.focalnet.modeling_focalnet import FocalNetModulation
from ultralytics import YOLO
from ultralytics.nn.modules import SPPF

from yolo_focal import FocalModulation

Contenders = dict[str, Callable[[], object]]
FEWEST_ROUNDS = 3


@dataclass
class Settings:
    """The command line's arguments, those of several values as lists."""

    part: list[str] = field(default_factory=lambda: ["module", "memory", "model", "area", "hook"])
    device: str = "cpu"
    dtype: str = "float32"
    threads: int = 2
    seconds: float = 4.0
    dims: list[int] = field(default_factory=lambda: [256, 512, 576, 640])
    sizes: list[int] = field(default_factory=lambda: [20, 40, 80])
    batches: list[int] = field(default_factory=lambda: [1, 16])
    scales: list[str] = field(default_factory=lambda: ["n", "s", "m"])
    save: str = "benchmark.csv"


@dataclass
class Row:
    """One ratio: what was measured, ours over the other's."""

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
    """Run the parts that were asked for; print their tables and write all rows to a CSV file."""
    settings = parse(arguments)
    torch.set_num_threads(settings.threads)
    jobs = [(part, job) for part in settings.part for job in PARTS[part](settings)]
    rows: list[Row] = []
    # Written as they come: a run of half an hour that is interrupted has lost nothing.
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
    """Read `key=value` arguments.

    Raises:
        SystemExit: A key or a value is none of those that the command has.
    """
    values = asdict(Settings())
    for argument in arguments:
        key, equals, text = argument.partition("=")
        if not equals or key not in values:
            raise SystemExit(f"{argument}: write key=value, with a key of {', '.join(values)}")
        old = values[key]
        kind = type(old[0]) if isinstance(old, list) else type(old)
        try:
            values[key] = [kind(v) for v in text.split(",")] if isinstance(old, list) else kind(text)
        except ValueError:
            example = ",".join(map(str, old)) if isinstance(old, list) else old
            raise SystemExit(f"{argument}: write numbers, such as {key}={example}") from None
    for part in values["part"]:
        if part not in PARTS:
            raise SystemExit(f"part={part}: write one or several of {','.join(PARTS)}")
    if values["dtype"] not in ("float32", "bfloat16", "float16"):
        raise SystemExit(f"dtype={values['dtype']}: write float32, bfloat16 or float16")
    if values["device"] == "cuda" and not torch.cuda.is_available():
        raise SystemExit("device=cuda: this machine has no CUDA device; write device=cpu")
    return Settings(**values)


def race(settings: Settings, contenders: Contenders) -> dict[str, list[float]]:
    """Time each contender once a round, in an order that changes; return seconds by name."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for call in contenders.values():
        call()
    synchronize(settings)
    started, order = time.perf_counter(), list(contenders)
    while time.perf_counter() - started < settings.seconds or len(seconds[order[0]]) < FEWEST_ROUNDS:
        random.shuffle(order)
        for name in order:
            before = time.perf_counter()
            contenders[name]()
            synchronize(settings)
            seconds[name].append(time.perf_counter() - before)
    return seconds


def synchronize(settings: Settings) -> None:
    """Wait for the device."""
    if settings.device == "cuda":
        torch.cuda.synchronize()


def compare(what: str, where: str, seconds: dict[str, list[float]]) -> list[Row]:
    """Turn timings into a row for each contender but the first, which is ours."""
    series = {name: [1e3 * t for t in times] for name, times in seconds.items()}
    (_, ours), *others = series.items()
    return [ratio_of(what, where, "ms", ours, name, theirs) for name, theirs in others]


def ratio_of(what: str, where: str, unit: str, ours: list[float], other: str, others: list[float]) -> Row:
    """Take the ratio in each round; keep its quartiles and both medians."""
    low, ratio, high = statistics.quantiles([a / b for a, b in zip(ours, others)], n=4)
    return Row(
        what, where, unit, statistics.median(ours), other, statistics.median(others), ratio, low, high, len(ours)
    )


class HuggingFace(nn.Module):
    """transformers' module between two permuted views, as it takes channels last."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.module = FocalNetModulation(FocalNetConfig(focal_levels=[2], focal_windows=[7]), 0, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Take and give `(B, C, H, W)`."""
        result: Tensor = self.module(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return result


def modules(settings: Settings, dim: int) -> dict[str, nn.Module]:
    """Ours first, then what it is held against."""
    made = {
        "ours": FocalModulation(dim),
        "timm": TimmFocalModulation(dim, 7, 2),
        "transformers": HuggingFace(dim),
        "SPPF": SPPF(dim, dim, 5),
    }
    return {name: module.to(settings.device) for name, module in made.items()}


def precision(settings: Settings) -> torch.autocast | nullcontext[None]:
    """Autocast to the type asked for, or nothing for float32."""
    if settings.dtype == "float32":
        return nullcontext()
    return torch.autocast(settings.device, getattr(torch, settings.dtype))


def over_shapes(measure: Callable[[Settings, int, int, int], list[Row]]) -> Jobs:
    """Make a part of a measurement: once for each batch, size and dim."""

    def jobs(settings: Settings) -> Iterator[Job]:
        for batch, size, dim in itertools.product(settings.batches, settings.sizes, settings.dims):
            yield partial(measure, settings, dim, size, batch)

    return jobs


def time_modules(settings: Settings, dim: int, size: int, batch: int) -> list[Row]:
    """Race forward passes (evaluation mode, no gradients), then steps (forward and backward)."""
    x = torch.randn(batch, dim, size, size, device=settings.device)
    gradient = torch.randn_like(x)
    where = f"dim {dim}, {size}x{size}, batch {batch}"

    def forward(module: nn.Module) -> object:
        with torch.no_grad(), precision(settings):
            return module(x)

    def call(kind: str, module: nn.Module) -> object:
        return forward(module.eval()) if kind == "forward" else step(settings, module.train(), x, gradient)

    rows = []
    for kind, passes in (("forward", 1), ("step", 3)):
        contenders = {n: lambda m=m, kind=kind: call(kind, m) for n, m in modules(settings, dim).items()}
        seconds = race(settings, {**contenders, **probes(settings)})
        theirs = {name: seconds[name] for name in contenders}
        rows += compare(kind, where, theirs)
        # Multiplications and additions of the matrices and the two kernels; the input read and the output written once.
        work = passes * 2 * x.numel() * (4 * dim + 3 + 7 * 7 + 9 * 9) / 1e9
        traffic = passes * 2 * x.numel() * x.element_size() / 1e9
        rows.append(share(f"{kind}, work", where, "GFLOP/s", work, "product", PRODUCT, seconds))
        rows.append(share(f"{kind}, traffic", where, "GB/s", traffic, "copy", COPY, seconds))
    return rows


# What a probe does in one call: GFLOP of a product of two square matrices, GB read and written by a copy.
SIDE, NUMBERS = 1024, 2**24
PRODUCT, COPY = 2 * SIDE**3 / 1e9, 2 * 4 * NUMBERS / 1e9


def probes(settings: Settings) -> Contenders:
    """What shows the machine's own speed in the same minute: a matrix product and a copy, float32."""
    a, b = torch.randn(2, SIDE, SIDE, device=settings.device)
    source = torch.randn(NUMBERS, device=settings.device)
    product, target = torch.empty_like(a), torch.empty_like(source)
    return {"product": lambda: torch.mm(a, b, out=product), "copy": lambda: target.copy_(source)}


def share(
    what: str, where: str, unit: str, work: float, probe: str, of_probe: float, seconds: dict[str, list[float]]
) -> Row:
    """Compare the rate of our contender with a probe's."""
    rates, limits = [work / t for t in seconds["ours"]], [of_probe / t for t in seconds[probe]]
    return ratio_of(what, where, unit, rates, probe, limits)


def step(settings: Settings, module: nn.Module, x: Tensor, gradient: Tensor) -> None:
    """Run forward and backward to the input's and all parameters' gradients, as inside a network."""
    module.zero_grad(set_to_none=True)
    with precision(settings):
        out = module(x.detach().requires_grad_())
    out.backward(gradient.to(out.dtype))


def weigh_modules(settings: Settings, dim: int, size: int, batch: int) -> list[Row]:
    """Compare what PyTorch's allocator holds at most in a step, input and incoming gradient included."""
    x = torch.randn(batch, dim, size, size, device=settings.device)
    gradient = torch.randn_like(x)
    there = 2 * x.numel() * x.element_size()
    peaks = {}
    for name, module in modules(settings, dim).items():
        step(settings, module, x, gradient)
        module.zero_grad(set_to_none=True)
        peaks[name] = (there + peak_of(settings, lambda m=module: step(settings, m, x, gradient))) / 2**20
    ours = peaks.pop("ours")
    where = f"dim {dim}, {size}x{size}, batch {batch}"
    return [Row("memory", where, "MiB", ours, n, p, ours / p, ours / p, ours / p, 1) for n, p in peaks.items()]


def peak_of(settings: Settings, call: Callable[[], None]) -> int:
    """Return the most bytes that were allocated at once during a call, beyond those before it."""
    if settings.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        call()
        return torch.cuda.max_memory_allocated() - before
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profiler:
        call()
    events = [e for e in profiler.profiler.kineto_results.events() if e.name() == "[memory]"]
    held = peak = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak


def model_jobs(settings: Settings) -> Iterator[Job]:
    """Whole models at 640 pixels."""
    for scale in settings.scales:
        yield partial(time_models, settings, scale, 640)


def area_jobs(settings: Settings) -> Iterator[Job]:
    """The smallest model at image sizes with areas from 1 to 16."""
    for size in (320, 480, 640, 960, 1280):
        yield partial(time_models, settings, "n", size)


def time_models(settings: Settings, scale: str, size: int) -> list[Row]:
    """Race the focal and the stock model: fused as for prediction, then exported to ONNX."""
    names = {"ours": f"yolov8{scale}-focal.yaml", "stock": f"yolov8{scale}.yaml"}
    image = torch.rand(1, 3, size, size, device=settings.device)
    where = f"YOLOv8{scale}, {size} pixels"
    with torch.no_grad():
        models = {name: YOLO(file).model.to(settings.device).eval().fuse(verbose=False) for name, file in names.items()}
        calls = {name: lambda m=model: m(image) for name, model in models.items()}
        rows = compare("model, PyTorch", where, race(settings, calls))
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
        return rows + compare("model, onnxruntime", where, race(settings, calls))


def exported(config: str, size: int) -> bytes:
    """Export a model to ONNX as `yolo export` does, and leave nothing behind."""
    here = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)  # where Ultralytics writes
        try:
            return Path(YOLO(config).export(format="onnx", imgsz=size, verbose=False)).read_bytes()
        finally:
            os.chdir(here)


def hook_jobs(settings: Settings) -> Iterator[Job]:
    """Starts of Python, with torch's loading of entry points and without."""
    commands = {
        "import torch": [sys.executable, "-c", "import torch"],
        "import ultralytics": [sys.executable, "-c", "from ultralytics import YOLO"],
        "yolo version": [str(Path(sys.executable).with_name("yolo")), "version"],
    }
    for what, command in commands.items():
        yield partial(time_start, settings, what, command)


def time_start(settings: Settings, what: str, command: list[str]) -> list[Row]:
    """Race a command in the environment as it is and in one where torch loads no entry point."""
    without = {**os.environ, "TORCH_DEVICE_BACKEND_AUTOLOAD": "0"}
    environments = {"with the hook": dict(os.environ), "without": without}
    calls = {
        name: lambda env=env: subprocess.run(command, env=env, check=True, stdout=subprocess.DEVNULL)
        for name, env in environments.items()
    }
    longer = Settings(seconds=5 * settings.seconds)
    return compare("start", what, race(longer, calls))


def table(rows: list[Row]) -> str:
    """Draw Markdown tables: a line for each thing measured, then the geometric means of the ratios."""
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
    "memory": over_shapes(weigh_modules),
    "model": model_jobs,
    "area": area_jobs,
    "hook": hook_jobs,
}

if __name__ == "__main__":
    main(sys.argv[1:])
