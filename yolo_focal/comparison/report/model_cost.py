"""Measures what trained models cost: parameters, GFLOPs, and the time of one image."""

from __future__ import annotations

import contextlib
import functools
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from ultralytics import YOLO
from ultralytics.utils import LOGGER
from ultralytics.utils.torch_utils import get_flops

from yolo_focal.errors import one_line
from yolo_focal.hook import configs

_ROUNDS = 30
_WARM_UP = 5

Call = Callable[[], Any]


class Cost(NamedTuple):
    """What a model costs; None where it could not be measured.

    Attributes:
        parameters: Number of parameters, layers fused as for inference.
        gflops: Of one image of the training's size.
        cpu: Quartiles of the milliseconds that one image takes in PyTorch on the CPU.
        onnxruntime: The same in onnxruntime on the CPU.
        device: The same in PyTorch on the GPU that the runs were trained on; None if they were not.
        notes: Why a figure is missing.
    """

    parameters: int | None
    gflops: float | None
    cpu: list[float] | None
    onnxruntime: list[float] | None
    device: list[float] | None
    notes: list[str]


def measure(checkpoints: Mapping[str, Path], imgsz: int, device: str) -> dict[str, Cost]:
    """Measure models in turns, so that whatever else the machine does slows all of them alike.

    Args:
        checkpoints: Each model's label and checkpoint.
        imgsz: Side of the image in pixels.
        device: The device of the training, such as "cpu" or "cuda:0".

    Returns:
        Each model's cost. A figure that cannot be measured is left out and does not stop the others.
    """
    notes: dict[str, list[str]] = {label: [] for label in checkpoints}
    threads = torch.get_num_threads()
    try:
        networks: dict[str, Any] = {}
        for label, file in checkpoints.items():
            with _noting(notes[label], "the checkpoint"):
                networks[label] = YOLO(str(file)).model.float().fuse(verbose=False).eval()
        images = {label: _image(network, imgsz) for label, network in networks.items()}
        on_cpu = _time(networks, images, "cpu", notes)
        on_device = _time(networks, images, device, notes) if device.startswith("cuda") else {}
        runtime = _time_onnxruntime(checkpoints, images, imgsz, notes)
        return {
            label: Cost(
                _parameters(networks.get(label)),
                _gflops(networks.get(label), imgsz, notes[label]),
                on_cpu.get(label),
                runtime.get(label),
                on_device.get(label),
                notes[label],
            )
            for label in checkpoints
        }
    finally:
        torch.set_num_threads(threads)  # Ultralytics' exporter sets its own


def _image(network: Any, imgsz: int) -> torch.Tensor:
    channels = configs.input_channels(network.yaml)
    return torch.rand(1, channels, imgsz, imgsz, generator=torch.Generator().manual_seed(0))


def _parameters(network: Any) -> int | None:
    return None if network is None else sum(parameter.numel() for parameter in network.parameters())


def _gflops(network: Any, imgsz: int, notes: list[str]) -> float | None:
    with _noting(notes, "GFLOPs"):
        return round(float(get_flops(network.cpu(), imgsz)), 3)
    return None


def _time(
    networks: Mapping[str, Any], images: Mapping[str, torch.Tensor], device: str, notes: dict[str, list[str]]
) -> dict[str, list[float]]:
    calls: dict[str, Call] = {}
    for label, network in networks.items():
        with _noting(notes[label], f"PyTorch on {device}"), torch.inference_mode():
            call = functools.partial(network.to(device), images[label].to(device))
            call()
            calls[label] = call
    with torch.inference_mode():
        return _quartiles(calls, torch.cuda.synchronize if device.startswith("cuda") else lambda: None)


def _time_onnxruntime(
    checkpoints: Mapping[str, Path], images: Mapping[str, torch.Tensor], imgsz: int, notes: dict[str, list[str]]
) -> dict[str, list[float]]:
    calls: dict[str, Call] = {}
    with tempfile.TemporaryDirectory() as folder:
        for label in images:
            with _noting(notes[label], "onnxruntime"):  # a user's module may have an operation that ONNX has not
                # The copy's name is a number, as labels need not be names of files that ONNX's tools can open.
                copy = Path(folder) / f"{len(calls)}.pt"
                run = _session(checkpoints[label], copy, imgsz)
                call = functools.partial(run, None, {"images": images[label].numpy()})
                call()
                calls[label] = call
        return _quartiles(calls, lambda: None)


def _session(file: Path, copy: Path, imgsz: int) -> Callable[..., Any]:
    import onnx  # noqa: F401  so that a missing one is noted, and not installed by Ultralytics
    import onnxruntime

    shutil.copy(file, copy)  # Ultralytics writes beside it
    level = LOGGER.level
    LOGGER.setLevel("ERROR")
    try:
        exported = YOLO(str(copy)).export(format="onnx", imgsz=imgsz, simplify=False)
    finally:
        LOGGER.setLevel(level)
    run: Callable[..., Any] = onnxruntime.InferenceSession(exported, providers=["CPUExecutionProvider"]).run
    return run


def _quartiles(calls: Mapping[str, Call], wait: Call) -> dict[str, list[float]]:
    """Time calls in turns and return the quartiles of each, in milliseconds."""
    times: dict[str, list[float]] = {label: [] for label in calls}
    for turn in range(_WARM_UP + _ROUNDS):
        for label in list(calls)[:: 1 if turn % 2 else -1]:
            wait()
            start = time.perf_counter()
            calls[label]()
            wait()
            times[label].append(1000 * (time.perf_counter() - start))
    return {
        label: [round(float(value), 3) for value in statistics.quantiles(measured[_WARM_UP:])]
        for label, measured in times.items()
    }


@contextlib.contextmanager
def _noting(notes: list[str], what: str) -> Iterator[None]:
    """Note why something could not be measured, and go on."""
    try:
        yield
    except Exception as error:
        notes.append(f"{what}: {type(error).__name__}: {one_line(error)[:160]}")


def as_json(costs: Mapping[str, Cost]) -> dict[str, Any]:
    """Return costs as JSON has them."""
    return {label: cost._asdict() for label, cost in costs.items()}


def from_json(content: Any, labels: list[str]) -> dict[str, Cost] | None:
    """Read what `as_json` has written for these models; None if it is something else."""
    try:
        costs = {label: Cost(**content[label]) for label in labels}
    except (TypeError, KeyError):
        return None
    return costs if all(cost.parameters for cost in costs.values()) else None
