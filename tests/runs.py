"""Processes of a comparison's runs: which there are, and a comparison that is killed."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path

import psutil


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
