"""Ray clusters on this machine."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Iterator
from typing import Any

import pytest

needs_ray = pytest.mark.skipif(
    any(importlib.util.find_spec(package) is None for package in ("ray", "pandas", "pyarrow")),
    reason="Ray Tune is not installed",
)


@contextlib.contextmanager
def a_cluster(*nodes: dict[str, int]) -> Iterator[tuple[Any, list[Any]]]:
    """Start a cluster on this machine: a head that takes no runs, and nodes."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "num_gpus": 0})
    try:
        yield cluster, [cluster.add_node(**resources) for resources in nodes]
    finally:
        cluster.shutdown()
