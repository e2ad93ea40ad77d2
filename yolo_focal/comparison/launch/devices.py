"""Which device each run is trained on, and how many runs are trained at once."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, NamedTuple

from yolo_focal.errors import ConfigError


class Slot(NamedTuple):
    """A place in which one run at a time is trained.

    Attributes:
        device: Ultralytics' `device` of the run, as its process counts devices; None leaves the choice to Ultralytics.
        visible: `CUDA_VISIBLE_DEVICES` of its process; None leaves it as it is.
        name: What the place is called, such as "cpu" or "GPU 1".
    """

    device: str | None
    visible: str | None
    name: str


class Places(NamedTuple):
    """The places that there are for runs.

    Attributes:
        threads: CPU threads for each process of a run, if the comparison begins now.
        slots: Returns them, given the threads that the comparison was begun with.
    """

    threads: int
    slots: Callable[[int], list[Slot]]


def on_this_machine(device: Any, parallel: int | None, per_device: int, gpus_per_run: int) -> Places:
    """Return the places that this machine has, which share its CPUs; see `slots`.

    Raises:
        ConfigError: A GPU is named twice or not there, there are more runs at once than places, or the GPUs do not
            come to a whole number of runs.
    """
    places = slots(device, parallel, per_device, os.environ.get("CUDA_VISIBLE_DEVICES"), gpus_per_run)
    return Places(max(1, cores() // (len(places) * gpus_per_run)), lambda _: places)


def cores() -> int:
    """Return this machine's CPU cores for runs: one is left to whatever else it does, as by Ultralytics."""
    return max(1, (os.cpu_count() or 1) - 1)


def numbers(device: Any) -> list[int]:
    """Return the GPUs' numbers of Ultralytics' `device`, such as [0, 1] of "0,1"; [] of "cpu", "mps" or None."""
    parts = _text(device).split(",")
    return [int(part) for part in parts] if all(part.isdigit() for part in parts) else []


def first_of(count: int) -> str:
    """Return Ultralytics' `device` for the first GPUs that a process sees, such as "0,1" for 2."""
    return ",".join(map(str, range(count)))


def slots(device: Any, parallel: int | None, per_device: int, visible: str | None, gpus_per_run: int = 1) -> list[Slot]:
    """Return the places for runs; those of different GPUs come in turns.

    Args:
        device: Ultralytics' `device`; several GPUs' numbers give each run `gpus_per_run` of them.
        parallel: The number of runs at once; as many as fit if None, and one at once where no GPU is named.
        per_device: Number of runs at once on each GPU.
        visible: This process's own `CUDA_VISIBLE_DEVICES`, which the numbers count in; None if it has none.
        gpus_per_run: Number of GPUs that a run's batches are shared among.

    Raises:
        ConfigError: A GPU is named twice or not there, there are more runs at once than places, or the GPUs do not
            come to a whole number of runs.
    """
    gpus = numbers(device)
    if len(gpus) % gpus_per_run or (gpus_per_run > 1 and not gpus):
        raise ConfigError(
            f"device={_text(device)}: it names {len(gpus)} GPUs, and each run takes gpus_per_run={gpus_per_run}; "
            f"write {gpus_per_run} or {2 * gpus_per_run}, such as device={first_of(gpus_per_run)}"
        )
    if not gpus:
        text = _text(device)
        if "," in text or text == "-1":
            raise ConfigError(f"device={device}: write the GPUs' numbers, such as device=0,1, or device=cpu")
        return [Slot(text or None, None, text or "the default device")] * (parallel or per_device)
    if len({*gpus}) < len(gpus):
        raise ConfigError(f"device={device}: it names a GPU twice; write per_device=2 for two runs at once on each")
    names = [name.strip() for name in visible.split(",")] if visible else None
    if names and max(gpus) >= len(names):
        raise ConfigError(
            f"device={device}: CUDA_VISIBLE_DEVICES={visible} leaves {len(names)}, whose numbers are 0 to "
            f"{len(names) - 1}"
        )
    groups = [gpus[first : first + gpus_per_run] for first in range(0, len(gpus), gpus_per_run)]
    places = [
        Slot(
            first_of(gpus_per_run),
            ",".join(names[gpu] if names else str(gpu) for gpu in group),
            f"GPU{'s' if gpus_per_run > 1 else ''} {', '.join(map(str, group))}",
        )
        for _ in range(per_device)
        for group in groups
    ]
    if parallel is not None and parallel > len(places):
        if gpus_per_run > 1:
            raise ConfigError(
                f"parallel={parallel}: device={device} and gpus_per_run={gpus_per_run} have room for {len(places)} "
                f"runs at once; write parallel={len(places)}, or leave it out"
            )
        raise ConfigError(
            f"parallel={parallel}: device={device} and per_device={per_device} have room for {len(places)} runs at "
            f"once; write per_device={-(-parallel // len(gpus))} or fewer runs"
        )
    return places[:parallel]


def _text(device: Any) -> str:
    if device is None:
        return ""
    if isinstance(device, (list, tuple)):
        device = ",".join(map(str, device))
    return str(device).replace("cuda:", "").replace(" ", "").strip("()[]")
