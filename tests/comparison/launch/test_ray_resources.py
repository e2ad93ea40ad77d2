"""What each run is given of a Ray cluster, and clusters that can never fit a run."""

from __future__ import annotations

from typing import Any

import pytest

from yolo_focal import ConfigError
from yolo_focal.comparison.launch.ray_resources import Node, Share


@pytest.mark.parametrize(
    ("nodes", "device", "parallel", "per_device", "gpus", "threads", "room"),
    [
        ([Node(16, 1)], None, None, 1, 1, 16, 1),
        ([Node(16, 2)], None, None, 1, 1, 8, 2),
        ([Node(16, 4)], 0, None, 1, 1, 4, 4),
        ([Node(16, 8)], "0,1", None, 1, 1, 2, 8),
        ([Node(16, 4)], None, None, 2, 0.5, 2, 8),
        ([Node(16, 1)], None, None, 3, 1 / 3, 5, 3),
        ([Node(16, 4)], "cpu", None, 1, 0, 16, 1),
        ([Node(16, 4)], "cpu", 4, 1, 0, 4, 4),
        ([Node(4, 0), Node(64, 4), Node(32, 4)], None, None, 1, 1, 8, 8),  # the head has no GPU
        ([Node(0, 0), Node(4, 0), Node(4, 0), Node(4, 0)], None, None, 1, 0, 4, 3),
        ([Node(4, 0), Node(4, 0)], None, 3, 1, 0, 2, 4),
        ([Node(8, 0), Node(4, 0)], None, None, 2, 0, 2, 6),
        ([Node(2, 4)], None, None, 1, 1, 1, 2),  # fewer CPUs than GPUs
    ],
)
def test_what_a_run_takes_of_a_cluster(
    nodes: list[Node], device: Any, parallel: int | None, per_device: int, gpus: float, threads: int, room: int
) -> None:
    share = Share.of(device, per_device, nodes)
    assert share.gpus == gpus
    assert share.threads(nodes, parallel, per_device) == threads
    assert share.room(nodes, threads) == room


@pytest.mark.parametrize(
    ("nodes", "gpus_per_run", "threads", "room"),
    [
        ([Node(16, 2)], 2, 8, 1),
        ([Node(16, 8)], 2, 2, 4),
        ([Node(16, 8)], 4, 2, 2),
        ([Node(16, 8)], 8, 2, 1),
        ([Node(16, 3), Node(32, 1)], 2, 8, 1),  # a GPU is left over on each
        ([Node(2, 4)], 2, 1, 1),  # fewer CPUs than GPUs
    ],
)
def test_what_a_run_of_several_gpus_takes_of_a_cluster(
    nodes: list[Node], gpus_per_run: int, threads: int, room: int
) -> None:
    share = Share.of(None, 1, nodes, gpus_per_run)
    assert (share.gpus, share.processes) == (gpus_per_run, gpus_per_run)
    assert share.threads(nodes, None, 1) == threads
    assert share.room(nodes, threads) == room


def test_a_cluster_without_as_many_gpus_as_a_run_takes() -> None:
    nodes = [Node(4, 1), Node(4, 2)]
    for device, asked in ((None, ""), (0, ""), ("cpu", "device=cpu and ")):
        with pytest.raises(ConfigError) as caught:
            Share.of(device, 1, nodes, 3)
        assert str(caught.value) == (
            f"{asked}gpus_per_run=3: no node of the cluster has as many GPUs for a run (4 CPUs, 1 GPUs; 4 CPUs, 2 "
            "GPUs); leave gpus_per_run= out, or add a node that has"
        )
    with pytest.raises(ConfigError, match="engine=ray: a run needs 8 CPUs and 2 GPUs, and no node of the cluster has"):
        Share.of(None, 1, nodes, 2).room(nodes, 4)


@pytest.mark.parametrize(
    ("nodes", "device", "threads", "message"),
    [
        ([Node(4, 0)], 0, 1, "device=0: no node of the cluster has a GPU (4 CPUs, 0 GPUs); write device=cpu"),
        (
            [Node(4, 0)],
            "mps",
            1,
            "device=mps: with engine=ray write device=0 for a GPU for each run, or device=cpu; Ray chooses the node "
            "and the GPU",
        ),
        (
            [Node(4, 0), Node(2, 1)],
            None,
            4,
            "engine=ray: a run needs 4 CPUs and a GPU, and no node of the cluster has as much (4 CPUs, 0 GPUs; 2 CPUs, "
            "1 GPUs); add a node that has, or write name= with another name, for which the number of CPUs is chosen "
            "anew",
        ),
        (
            [Node(0, 0)],
            "cpu",
            1,
            "engine=ray: a run needs 1 CPUs, and no node of the cluster has as much (0 CPUs, 0 GPUs); add a node that "
            "has, or write name= with another name, for which the number of CPUs is chosen anew",
        ),
    ],
)
def test_a_cluster_that_can_never_fit_a_run(nodes: list[Node], device: Any, threads: int, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Share.of(device, 1, nodes).room(nodes, threads)
    assert str(caught.value) == message
