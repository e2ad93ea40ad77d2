"""What each run takes of a cluster's nodes, and how many runs at once fit them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from yolo_focal.comparison.launch.devices import first_of, numbers
from yolo_focal.errors import ConfigError


class Node(NamedTuple):
    """What a node of the cluster has for runs."""

    cpus: int
    gpus: int


class Share(NamedTuple):
    """What each run takes of a node: GPUs, which may be part of one, and CPUs for a process on each."""

    gpus: float

    @classmethod
    def of(cls, device: Any, per_device: int, nodes: Sequence[Node], gpus_per_run: int = 1) -> Share:
        """Return what a run takes: GPUs where `device` names some, or where nodes have some and it names nothing.

        Raises:
            ConfigError: `device` is something else, or it names GPUs and no node has any or as many as a run takes.
        """
        most = max((node.gpus for node in nodes), default=0)
        share = float(gpus_per_run) if gpus_per_run > 1 else 1 / per_device
        if gpus_per_run > 1 and (most < gpus_per_run or str(device) == "cpu"):
            asked = "device=cpu and " if str(device) == "cpu" else ""
            raise ConfigError(
                f"{asked}gpus_per_run={gpus_per_run}: no node of the cluster has as many GPUs for a run "
                f"({describe(nodes)}); leave gpus_per_run= out, or add a node that has"
            )
        if device is None or device == "":
            return cls(share if most else 0.0)
        if str(device) == "cpu":
            return cls(0.0)
        if not numbers(device):
            raise ConfigError(
                f"device={device}: with engine=ray write device=0 for a GPU for each run, or device=cpu; Ray chooses "
                "the node and the GPU"
            )
        if not most:
            raise ConfigError(
                f"device={device}: no node of the cluster has a GPU ({describe(nodes)}); write device=cpu"
            )
        return cls(share)

    @property
    def processes(self) -> int:
        """Number of processes of a run."""
        return max(1, int(self.gpus))

    @property
    def device(self) -> str:
        """Ultralytics' `device` of a run, as its process counts devices."""
        return first_of(self.processes) if self.gpus else "cpu"

    def cpus(self, threads: int) -> int:
        """Return the CPUs of a run, given the threads of each of its processes."""
        return threads * self.processes

    def threads(self, nodes: Sequence[Node], parallel: int | None, per_device: int) -> int:
        """Return the CPU threads of a run's process, so many that every node that may take runs has enough.

        A node takes as many runs as its GPUs have room for; without GPUs `per_device`, or with `parallel` as many as
        come to it.
        """
        able = [node for node in nodes if node.cpus and (not self.gpus or _fit(node.gpus, self.gpus))]
        if not able:
            return 1
        if self.gpus:
            return max(1, min(node.cpus // (_fit(node.gpus, self.gpus) * self.processes) for node in able))
        each = per_device if parallel is None else math.ceil(parallel / len(able))
        return max(1, min(node.cpus for node in able) // each)

    def room(self, nodes: Sequence[Node], threads: int) -> int:
        """Return how many runs at once fit the nodes.

        Raises:
            ConfigError: No node has room for a single one.
        """
        cpus = self.cpus(threads)
        by_cpus = [node.cpus // cpus for node in nodes]
        by_gpus = [_fit(node.gpus, self.gpus) for node in nodes] if self.gpus else by_cpus
        fitting = sum(map(min, by_cpus, by_gpus))
        if fitting:
            return fitting
        gpus = f" and {self.processes} GPUs" if self.processes > 1 else " and a GPU" if self.gpus else ""
        needed = f"{cpus} CPUs{gpus}"
        raise ConfigError(
            f"engine=ray: a run needs {needed}, and no node of the cluster has as much ({describe(nodes)}); add a "
            "node that has, or write name= with another name, for which the number of CPUs is chosen anew"
        )


def _fit(gpus: int, share: float) -> int:
    """Return how many runs' shares a node's GPUs have room for; Ray counts in ten thousandths."""
    return gpus // int(share) if share > 1 else gpus * round(1 / share)


def describe(nodes: Sequence[Node]) -> str:
    """Return what nodes have, in words."""
    return "; ".join(f"{node.cpus} CPUs, {node.gpus} GPUs" for node in nodes) or "it has none"
