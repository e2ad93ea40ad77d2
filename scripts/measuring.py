"""How scripts/benchmark.py measures: calls in turns, passes of modules, and the peaks of their memory."""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial

import torch
from contenders import Modules
from ratios import Row, ratios
from torch import Tensor, nn

Calls = dict[str, Callable[[], object]]
MIN_ROUNDS = 3
LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


@dataclass
class Settings:
    """The command line arguments; those that take several values are lists."""

    part: list[str] = field(default_factory=lambda: ["module", "collection", "model", "net", "hook"])
    device: str = "cpu"
    dtype: str = "float32"
    seconds: float = 4.0
    dims: list[int] = field(default_factory=lambda: [256, 512, 576, 640])
    sizes: list[int] = field(default_factory=lambda: [20, 40, 80])
    batches: list[int] = field(default_factory=lambda: [1, 16])
    models: list[str] = field(default_factory=lambda: [f"yolov8{scale}-focal.yaml" for scale in "nsm"])
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
    """Return the milliseconds that a call takes, on a GPU until its work there is done."""
    before = time.perf_counter()
    call()
    if settings.device != "cpu":
        torch.cuda.synchronize(settings.place)
    return 1e3 * (time.perf_counter() - before)


def placed(settings: Settings, modules: Modules) -> Modules:
    """Return modules on the device, in the memory format and compiled, as requested."""
    for module in modules.values():
        module.to(settings.place, memory_format=LAYOUTS[settings.layout])
    if settings.mode == "eager":
        return modules
    torch.compiler.reset()  # a shape of its own each time, and no code for many of them
    return {name: torch.compile(module, dynamic=False) for name, module in modules.items()}


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
