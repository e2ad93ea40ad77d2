"""What a trained model costs: parameters, GFLOPs, and the time of one image in PyTorch and onnxruntime."""

from __future__ import annotations

import functools
import shutil
import statistics
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Callable, NamedTuple

import numpy as np
import torch
from ultralytics import YOLO
from ultralytics.utils import LOGGER
from ultralytics.utils.torch_utils import get_flops

_ROUNDS = 30
_WARM_UP = 5


class Profile(NamedTuple):
    """What a model costs.

    Attributes:
        parameters: How many, of the fused model.
        gflops: Of one image.
        pytorch: Quartiles of the milliseconds that one image takes in PyTorch, on the CPU.
        onnxruntime: The same in onnxruntime; None where it is not installed or the model cannot be exported.
        note: Why there is no time for onnxruntime.
    """

    parameters: int
    gflops: float
    pytorch: list[float]
    onnxruntime: list[float] | None
    note: str


def profile(checkpoints: Mapping[str, Path]) -> dict[str, Profile]:
    """Profile models, in turns, so that what else the machine does slows all of them alike.

    Args:
        checkpoints: What each model is called, and its checkpoint; the image is of the training's size.
    """
    models = {label: YOLO(str(file)) for label, file in checkpoints.items()}
    imgsz = int(np.max([model.overrides.get("imgsz", 640) for model in models.values()]))
    image = torch.rand(1, 3, imgsz, imgsz, generator=torch.Generator().manual_seed(0))
    networks = {label: model.model.float().fuse(verbose=False).eval() for label, model in models.items()}
    with torch.inference_mode():
        pytorch = _quartiles({label: functools.partial(network, image) for label, network in networks.items()})
    sessions, notes = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for label, file in checkpoints.items():
            try:
                sessions[label] = _session(file, Path(folder) / f"{label}.pt", imgsz)
            except Exception as error:  # an own module may hold what ONNX has no operation for
                notes[label] = f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"
        given = {"images": image.numpy()}
        runtime = _quartiles({label: functools.partial(run, None, given) for label, run in sessions.items()})
    return {
        label: Profile(
            sum(parameter.numel() for parameter in network.parameters()),
            round(float(get_flops(network, imgsz)), 3),
            pytorch[label],
            runtime.get(label),
            notes.get(label, ""),
        )
        for label, network in networks.items()
    }


def _session(file: Path, copy: Path, imgsz: int) -> Callable[..., Any]:
    import onnx  # noqa: F401  so that a missing one is said, and not installed by Ultralytics
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


def _quartiles(calls: Mapping[str, Callable[[], Any]]) -> dict[str, list[float]]:
    """Time calls in turns and return the quartiles of each, in milliseconds."""
    times: dict[str, list[float]] = {label: [] for label in calls}
    for turn in range(_WARM_UP + _ROUNDS):
        for label in list(calls)[:: 1 if turn % 2 else -1]:
            start = time.perf_counter()
            calls[label]()
            times[label].append(1000 * (time.perf_counter() - start))
    return {label: [round(one, 3) for one in statistics.quantiles(found[_WARM_UP:])] for label, found in times.items()}
