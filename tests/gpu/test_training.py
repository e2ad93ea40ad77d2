"""Trainings on a GPU: two processes on one device, the warm start, and the time of an epoch and of a validation."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from support import COMMAND, YOLO, run

from yolo_focal import FocalModulation, shapes
from yolo_focal.twin.checkpoint import derive_checkpoint

WORKER = Path(__file__).with_name("two_processes.py")


def test_two_processes_on_one_device_average_their_gradients(slow_device: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", WORKER]
    run(*command, slow_device, "gradients.pt", cwd=tmp_path)
    spec = importlib.util.spec_from_file_location("two_processes", WORKER)
    assert spec is not None and spec.loader is not None
    worker: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(worker)
    whole = worker.network(slow_device)
    whole(worker.batch(slow_device)).square().mean().backward()
    for gradient, parameter in zip(torch.load(tmp_path / "gradients.pt"), whole.parameters(), strict=True):
        torch.testing.assert_close(gradient, parameter.grad.cpu(), rtol=1e-3, atol=1e-6)


@pytest.mark.usefixtures("cuda")
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="there are no two CUDA devices")
def test_runs_of_two_gpus_are_compared(tmp_path: Path) -> None:
    models = "models=yolov8n.yaml,yolov8n-focal.yaml"
    given = ("data=shapes.yaml", "seeds=1", "imgsz=64", "epochs=2", "fraction=0.1", "plots=False", "device=0,1")
    out = run(COMMAND, "compare", models, *given, "gpus_per_run=2", cwd=tmp_path, YOLO_OFFLINE="1").stdout
    assert "2 runs of 2 epochs to go, 1 at a time on GPUs 0, 1" in out
    assert "runs failed" not in out


@pytest.mark.usefixtures("cuda")
def test_a_trained_checkpoint_is_derived_with_a_warm_start(tmp_path: Path) -> None:
    """On a GPU by default; what is written is on the CPU, as every checkpoint."""
    shapes.draw(tmp_path / "set")
    given = ("data=shapes.yaml", "imgsz=128", "epochs=5", "plots=False", "workers=0", "device=0")
    run(YOLO, "train", "model=yolov8n.yaml", *given, cwd=tmp_path, YOLO_OFFLINE="1")
    stock = tmp_path / "runs" / "detect" / "train" / "weights" / "last.pt"
    derive_checkpoint(str(stock), tmp_path / "twin.pt", str(tmp_path / "set" / "images" / "val"))
    twin = torch.load(tmp_path / "twin.pt", weights_only=False)["model"]
    assert type(twin.model[9]) is FocalModulation
    assert {p.device.type for p in twin.parameters()} == {"cpu"}
    assert all(p.isfinite().all() for p in twin.parameters())


def test_the_time_of_an_epoch_and_of_a_validation(
    slow_device: str, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """They are recorded in pytest's report (`--junitxml`), and not judged."""
    small = ("fraction=0.1", "imgsz=64", "device=cpu") if slow_device == "cpu" else ("imgsz=640", "device=0")
    given = ("data=shapes.yaml", "batch=16", "plots=False", "workers=0", *small)
    for model in ("yolov8n-focal", "yolov8n")[: 1 if slow_device == "cpu" else 2]:
        run(YOLO, "train", f"model={model}.yaml", *given, "epochs=2", f"name={model}", cwd=tmp_path, YOLO_OFFLINE="1")
        results = tmp_path / "runs" / "detect" / model
        times = [float(line.split(",")[1]) for line in (results / "results.csv").read_text().splitlines()[1:]]
        weights = results / "weights" / "last.pt"
        out = run(YOLO, "val", f"model={weights}", *given, cwd=tmp_path, YOLO_OFFLINE="1").stdout
        (speed,) = (line for line in out.splitlines() if line.startswith("Speed:"))
        record_property(f"{model}, second epoch, s", times[1] - times[0])
        record_property(f"{model}, validation", speed)
        values = torch.load(weights, weights_only=False)["model"].state_dict().values()
        assert all(value.isfinite().all() for value in values)
