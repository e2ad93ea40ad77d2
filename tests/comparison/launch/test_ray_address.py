"""`address=` of a Ray cluster: where nothing or something else answers, and a cluster that takes no run."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from comparison.clusters import a_cluster, needs_ray

import yolo_focal
from yolo_focal import ConfigError


@contextlib.contextmanager
def something_else() -> Iterator[str]:
    """Serve a port that accepts connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def refused(**arguments: Any) -> str:
    """Return what a comparison is refused with."""
    with pytest.raises(ConfigError) as caught:
        yolo_focal.compare("shapes.yaml", ["yolov8n.yaml", "yolov8n-focal.yaml"], engine="ray", **arguments)
    return str(caught.value)


@needs_ray
def test_an_address_where_nothing_answers() -> None:
    with something_else() as address:
        pass
    for given, rest in (
        (
            address,
            "no Ray cluster answers there; write the address that ray start --head has printed, or leave address= out "
            "to start Ray on this machine",
        ),
        (
            "ray://10.0.0.1:10001",
            "write address=HOST:PORT, such as address=10.0.0.1:6379, or address=auto for the cluster that this machine "
            "is a node of; the command runs on one of its nodes",
        ),
    ):
        assert refused(address=given) == f"address={given}: {rest}"


@pytest.mark.slow
@needs_ray
def test_an_address_where_something_else_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    from yolo_focal.comparison.launch import ray_cluster

    monkeypatch.setattr(ray_cluster, "_CONNECT", 3.0)  # Ray itself would try for minutes and then end this process
    with something_else() as address:
        assert refused(address=address).startswith(f"address={address}: no Ray cluster answers there; ")


@pytest.mark.slow
@needs_ray
def test_a_cluster_that_is_too_small_is_not_waited_for() -> None:
    with a_cluster() as (cluster, _):
        message = refused(address=cluster.address)
    assert "a run needs 1 CPUs, and no node of the cluster has as much (0 CPUs, 0 GPUs)" in message
