"""A comparison's runs: what one has come to, which processes there are, and a comparison that is killed."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import psutil

from yolo_focal.comparison.store.run_folder import METRICS
from yolo_focal.comparison.store.run_result import RunResult, Work


def result(score: float = 0.5, work: dict[str, Any] | None = None, **other: Any) -> RunResult:
    """Return what a run on a CPU has come to, and what is given in the place of its own."""
    told = {"batch": 16, "imgsz": 640, "epochs": 50, "images": 2, "transferred": [3, 5], "order": "0", "layers": {}}
    environment = {"ultralytics": "8", "torch": "2", "yolo-focal": "0", "python": "3", "device": "cpu (x)", "host": "h"}
    own: dict[str, Any] = {
        "task": "detect",
        "fingerprint": "0",
        "metrics": {METRICS["detect"]: score + 0.01},
        "classes": {"cat": score + 0.1, "dog": score - 0.1},
        "sizes": {"small": score / 2, "large": score},
        "names": ["cat", "dog"],
        "scores": {"best": score + 0.01, "last": score - 0.01, "mean_of_last": score},
        "last_epochs": 5,
        "curve": [score / 2, score],
        "nan_epoch": None,
        "recorded": True,
        "without": {},
        "seconds": 100.0,
        "cpu_seconds": 95.0,
        "peak_memory_mib": 500.0,
        "environment": environment,
        "test": None,
        "ablations": [],
    }
    return RunResult(**{**own, **other}, work=Work(**{**told, **(work or {})}))


def alive(folder: Path) -> list[psutil.Process]:
    """Return the processes of the runs in a folder, and those that share their batches."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        command = process.info["cmdline"] or []
        if any(word.startswith("yolo_focal.comparison.") for word in command) and str(folder) in " ".join(command):
            found.append(process)
    return found


def kill(comparison: subprocess.Popen[str], folder: Path) -> None:
    """Kill a comparison, whose runs in a folder then end by themselves."""
    comparison.send_signal(signal.SIGKILL)
    comparison.wait()
    deadline = time.monotonic() + 20
    while alive(folder):
        assert time.monotonic() < deadline
        time.sleep(0.1)
