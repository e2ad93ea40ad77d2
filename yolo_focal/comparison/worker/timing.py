"""Measures what a training takes: time, memory, and the order in which the images come."""

from __future__ import annotations

import platform
import sys
import time
import zlib
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
import torch
from ultralytics.utils import RANK

from yolo_focal.comparison.store.files import write_json
from yolo_focal.comparison.store.times import PACKAGES, Times, read_times
from yolo_focal.comparison.worker import ultralytics_trainer as ultralytics


class Measured:
    """Measures each epoch of a training and keeps the figures in a file, which a resumed training goes on with.

    Args:
        file: Where to keep them.

    Attributes:
        unsupported: What this release lacks for the order of the images and what the trainer has done; None if nothing.
    """

    def __init__(self, file: Path) -> None:
        self.unsupported: str | None = None
        self._file = file
        self._epochs = read_times(file).epochs
        self._startup: float | None = None
        self._began = (0.0, 0.0)
        self._order = 0

    def attach(self, model: Any) -> None:
        """Add the callbacks to Ultralytics' `YOLO`, before it trains."""
        model.add_callback("on_train_epoch_start", self._on_train_epoch_start)
        model.add_callback("on_fit_epoch_end", self._on_fit_epoch_end)

    @property
    def epochs(self) -> int:
        """Number of epochs."""
        return max(map(int, self._epochs), default=-1) + 1

    def totals(self) -> dict[str, Any]:
        """Return the seconds and the CPU seconds of all epochs with their validations, and the peak memory in MiB."""
        seconds, cpu = (sum(epoch[index] for epoch in self._epochs.values()) for index in (0, 1))
        return {"seconds": round(seconds, 2), "cpu_seconds": round(cpu, 2), "peak_memory_mib": round(_peak_memory(), 1)}

    def order(self) -> str:
        """Return a digest of the order in which the images came, over all epochs."""
        text = ",".join(str(int(self._epochs[key][2])) for key in sorted(self._epochs, key=int))
        return f"{zlib.crc32(text.encode()):08x}"

    def _note(self, batch: dict[str, Any]) -> None:
        names = [Path(file).name for file in batch.get("im_file", ())]
        pixels = batch["img"].reshape(-1)[::997].cpu().numpy().tobytes()  # a few: the augmentation shows in them
        self._order = zlib.crc32("\n".join(names).encode() + pixels, self._order)

    def _on_train_epoch_start(self, trainer: Any) -> None:
        if self._startup is None:
            self._startup = time.time() - psutil.Process().create_time()
            self.unsupported = ultralytics.unsupported(trainer, ultralytics.WORK)
            if self.unsupported is None:
                ultralytics.preprocess_by(trainer, self._note)
        self._began = (time.perf_counter(), time.process_time())
        self._order = 0

    def _on_fit_epoch_end(self, trainer: Any) -> None:
        began, self._began = self._began, (0.0, 0.0)
        if began == (0.0, 0.0):  # Ultralytics calls this once more after the last epoch
            return
        wall, cpu = time.perf_counter() - began[0], time.process_time() - began[1]
        epoch = len(self._epochs) if self.unsupported else ultralytics.epoch(trainer)
        self._epochs[str(epoch)] = [round(wall, 3), round(cpu, 3), self._order]
        if RANK > 0:  # of several processes the first one's are kept
            return
        write_json(self._file, Times(round(self._startup or 0, 2), self._epochs)._asdict())


def environment(device: torch.device) -> dict[str, str]:
    """Return the versions of what computes the result, and the machine."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    return {
        **{package: version(package) for package in PACKAGES},
        "python": platform.python_version(),
        "device": f"{device.type} ({name})",
        "host": platform.node(),
    }


def _peak_memory() -> float:
    """Return the largest memory in use so far, in MiB: of the GPU, or of the process."""
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return torch.cuda.max_memory_allocated() / 2**20
    try:
        import resource
    except ImportError:  # Windows
        return float(psutil.Process().memory_info().peak_wset) / 2**20
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20
