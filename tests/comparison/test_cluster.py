"""Runs on a Ray cluster: what each is given, lost nodes, storage, and what is refused."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import few
import pytest
from support import COMMAND, run, start

import yolo_focal
from yolo_focal import ConfigError
from yolo_focal.comparison.launch import ray_bundle
from yolo_focal.comparison.launch.devices import cores
from yolo_focal.comparison.launch.ray_resources import Node, Share
from yolo_focal.comparison.store.files import digest, read_json
from yolo_focal.comparison.store.run_folder import RESULT

needs_ray = pytest.mark.skipif(
    any(importlib.util.find_spec(package) is None for package in ("ray", "pandas", "pyarrow")),
    reason="Ray Tune is not installed",
)
PAIR = "models=yolov8n.yaml,yolov8n-focal.yaml"
SMALL = (
    "imgsz=32",
    "batch=8",
    "workers=0",
    "plots=False",
    "epochs=8",
    "warmup_epochs=1",
    "device=cpu",
)
# What the local engine gives a single run: both then compute with as many threads, and so the same bits.
CPUS = cores()


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("RAY_worker_niceness", "0")  # else what runs beside this test leaves its workers no time


# What each run is given


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


# What goes from one machine to another


def a_run(folder: Path, epoch: int) -> Path:
    """Write what a run leaves after an epoch."""
    snapshot = folder / "snapshots" / f"epoch-{epoch}"
    for file in (
        snapshot / "state.pt",
        folder / "validations" / f"epoch-{epoch}.npz",
        folder / "m-seed0" / "args.yaml",
    ):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{file.name} {epoch}")
    for name in ("times.json", "log.txt", "task.json", ".lock.json"):
        (folder / name).write_text(f"{name} {epoch}")
    return snapshot


def files(folder: Path) -> list[str]:
    return sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file())


def test_a_bundle_is_taken_over_whole_or_not_at_all(tmp_path: Path) -> None:
    there, here = tmp_path / "there" / "m" / "seed0", tmp_path / "here" / "m" / "seed0"
    ray_bundle.pack_to_go_on(there, a_run(there, 2), tmp_path / "packed")
    a_run(here, 1)
    for name in ("snapshots/epoch-2/state.pt", "manifest.json", "log.txt"):
        damaged = tmp_path / "damaged"
        shutil.copytree(tmp_path / "packed", damaged)
        (damaged / name).write_bytes((damaged / name).read_bytes()[:-3])
        before = {name: (here / name).read_bytes() for name in files(here)}
        assert not ray_bundle.unpack(damaged, here)
        (damaged / name).unlink()
        assert not ray_bundle.unpack(damaged, here)
        assert {name: (here / name).read_bytes() for name in files(here)} == before
        shutil.rmtree(damaged)
    assert ray_bundle.unpack(tmp_path / "packed", here)
    ours = [".lock.json", "task.json"]  # of the machine itself
    theirs = ["log.txt", "snapshots/epoch-2/state.pt", "times.json", "validations/epoch-2.npz"]
    assert files(here) == sorted(ours + theirs)
    assert (here / "log.txt").read_text() == "log.txt 2" and (here / "task.json").read_text() == "task.json 1"


def test_what_a_run_writes_on_does_not_change_its_bundle(tmp_path: Path) -> None:
    there = tmp_path / "m" / "seed0"
    ray_bundle.pack_to_go_on(there, a_run(there, 0), tmp_path / "packed")
    with (there / "log.txt").open("a") as log:
        log.write("more")
    shutil.rmtree(there / "snapshots")
    assert ray_bundle.unpack(tmp_path / "packed", tmp_path / "elsewhere" / "seed0")


def test_the_result_is_put_there_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there, here = tmp_path / "there" / "m" / "seed0", tmp_path / "here" / "m" / "seed0"
    a_run(there, 2)
    (there / RESULT).write_text("{}")
    ray_bundle.pack_whole(there, tmp_path / "packed")
    copied: list[str] = []
    copy = shutil.copyfile
    monkeypatch.setattr(shutil, "copyfile", lambda source, to: (copied.append(Path(source).name), copy(source, to)))
    assert ray_bundle.unpack(tmp_path / "packed", here)
    assert copied[-1] == RESULT and "m-seed0/args.yaml" in files(here)


@needs_ray
def test_storage_finds_the_newest_checkpoint_first(tmp_path: Path) -> None:
    from yolo_focal.comparison.launch.ray_storage import open_storage

    storage = open_storage(str(tmp_path / "storage"), "compare")
    assert storage.checkpoints("seed0-aa") == []
    places = [f"{call}/seed0-{run}/checkpoint_00000{n}" for call in "12" for run in ("aa", "ab") for n in (0, 1)]
    for place in places:
        (tmp_path / "storage" / "compare" / place).mkdir(parents=True)
    found = [path.partition("compare/")[2] for path in storage.checkpoints("seed0-aa")]
    assert found == [f"{call}/seed0-aa/checkpoint_00000{number}" for call in "21" for number in "10"]
    storage.remove()
    assert list((tmp_path / "storage").iterdir()) == []


@needs_ray
def test_a_run_goes_on_from_its_newest_checkpoint_that_is_whole(tmp_path: Path) -> None:
    """Also from one that its node has written before it was lost, and of which Ray Tune has not heard."""
    from yolo_focal.comparison.launch import ray_node
    from yolo_focal.comparison.launch.ray_storage import open_storage

    storage = open_storage(str(tmp_path / "storage"), "compare")
    there, here = tmp_path / "there" / "m" / "seed0", tmp_path / "here" / "m" / "seed0"
    ray_node._restore(here, "m-seed0-aa", storage)
    assert not here.exists()
    places = [tmp_path / "storage/compare" / place / "m-seed0-aa" for place in ("1", "2")]
    checkpoints = [places[0] / "checkpoint_000003", *(places[1] / f"checkpoint_00000{number}" for number in (0, 1))]
    for epoch, checkpoint in enumerate(checkpoints):
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
        ray_bundle.pack_to_go_on(there, a_run(there, epoch), checkpoint)
        shutil.rmtree(there)
    for epoch in (2, 1, 0):
        ray_node._restore(here, "m-seed0-aa", storage)
        assert [path.name for path in (here / "snapshots").iterdir()] == [f"epoch-{epoch}"]
        (checkpoints[epoch] / "times.json").unlink()


@needs_ray
def test_storage_that_cannot_be_opened(tmp_path: Path) -> None:
    from yolo_focal.comparison.launch.ray_storage import open_storage

    (tmp_path / "file").touch()
    for place in (str(tmp_path / "file"), "nowhere://bucket/folder"):
        with pytest.raises(ConfigError) as caught:
            open_storage(place, "compare")
        assert str(caught.value).startswith(f"storage={place}: ")
        assert str(caught.value).endswith(
            "; write a folder that every node of the cluster sees, or a URI such as s3://bucket/folder"
        )


# Addresses


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


# Whole comparisons


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[tuple[str, ...], list[str]]:
    """A comparison by four short runs on few images, and what it comes to on this machine."""
    folder = tmp_path_factory.mktemp("here")
    few.draw(folder / "set", train=32, val=8)
    (folder / "set.yaml").write_text(few.yaml_of(folder / "set"))
    command = (COMMAND, "compare", f"data={folder / 'set.yaml'}", PAIR, "seeds=1", "folds=2", *SMALL)
    run(*command, cwd=folder)
    return command, steady(folder / "runs/compare/compare")


def steady(folder: Path) -> list[str]:
    """Return the table and each run's losses, without what differs from time to time."""
    import polars as pl

    frames = [pl.read_csv(folder / "results.csv").drop("seconds", "cpu_seconds", "peak_memory_mib")]
    curves = sorted(folder.glob("*/seed*/*-seed*/results.csv"))
    assert curves
    frames += [pl.read_csv(file).rename(str.strip) for file in curves]
    return [frame.drop("time", strict=False).write_csv() for frame in frames]


@contextlib.contextmanager
def a_cluster(*nodes: dict[str, int]) -> Iterator[tuple[Any, list[Any]]]:
    """Start a cluster on this machine: a head that takes no runs, and nodes."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "num_gpus": 0})
    try:
        yield cluster, [cluster.add_node(**resources) for resources in nodes]
    finally:
        cluster.shutdown()


def until(process: subprocess.Popen[str], found: Any) -> None:
    """Wait until something is found while a process works."""
    while not found():
        assert process.poll() is None, process.communicate()[0][-3000:]
        time.sleep(0.2)


def with_checkpoints(storage: Path) -> set[str]:
    """Return the keys of the runs that have a checkpoint in a comparison's storage, copied there to its last byte."""
    found = set()
    for manifest in storage.glob("*/*/checkpoint_*/manifest.json"):
        digests = read_json(manifest) or {}
        with contextlib.suppress(FileNotFoundError):  # not copied yet, or removed for the next one
            if digests and all(digest(manifest.parent / name) == digests[name] for name in digests):
                found.add(manifest.parents[1].name)
    return found


def went_on(folder: Path) -> int:
    """Return the number of times that a run of a comparison went on from a checkpoint."""
    logs = [file.read_text(encoding="utf-8") for file in folder.glob("*/*/log.txt")]
    times = sum(log.count("Going on after epoch ") for log in logs)
    # Each log is of all the processes that had a part in the run.
    assert sum(log.count("Starting training for") for log in logs) == len(logs) + times
    return times


@pytest.mark.slow
@needs_ray
def test_a_lost_node_and_nodes_that_share_no_folder(small: tuple[tuple[str, ...], list[str]]) -> None:
    """Of three nodes one is killed in the middle, and another one is added: the table is the local engine's."""
    command, expected = small
    storage, folder = Path("storage").absolute(), Path("runs/compare/there")
    with a_cluster(*3 * [{"num_cpus": CPUS, "num_gpus": 0}]) as (cluster, nodes):
        process = start(*command, "name=there", "engine=ray", f"address={cluster.address}", f"storage={storage}")
        # All three runs that are in progress have a checkpoint.
        until(process, lambda: len(with_checkpoints(storage / "there")) == 3)
        cluster.remove_node(nodes[0], allow_graceful=False)
        status = run(COMMAND, "compare", "status", "name=there", cwd=Path.cwd()).stdout
        assert re.search(r"seed0-fold\d +cpu of \S+ +\d/8 +0\.\d{4}", status)
        cluster.add_node(num_cpus=CPUS, num_gpus=0)
        out = process.communicate()[0]
    assert process.returncode == 0, out[-3000:]
    assert "4 runs of 8 epochs to go, 3 at a time on CPUs of the cluster" in out
    assert steady(folder) == expected
    assert list(storage.iterdir()) == []
    logs = [file.read_text(encoding="utf-8") for file in folder.glob("*/*/log.txt")]
    assert len(logs) == 4 and all(str(Path.cwd() / "runs") not in log for log in logs)  # trained elsewhere
    assert went_on(folder) == 1


@pytest.mark.slow
@needs_ray
def test_checkpoints_in_a_bucket(small: tuple[tuple[str, ...], list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Both nodes are lost when their runs have checkpoints there, and another one is waited for."""
    pytest.importorskip("moto")
    from moto.server import ThreadedMotoServer
    from pyarrow import fs

    command, expected = small
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "of-a-test")
    server = ThreadedMotoServer(port=0)
    server.start()
    try:
        _, port = server.get_host_and_port()
        uri = (
            f"s3://runs/kept?region=us-east-1&scheme=http&endpoint_override=127.0.0.1:{port}&allow_bucket_creation=true"
        )
        bucket, _ = fs.FileSystem.from_uri(uri)
        bucket.create_dir("runs")

        def manifests() -> list[str]:
            found = bucket.get_file_info(fs.FileSelector("runs", recursive=True, allow_not_found=True))
            return [info.path for info in found if info.base_name == "manifest.json"]

        with a_cluster(*2 * [{"num_cpus": CPUS, "num_gpus": 0}]) as (cluster, nodes):
            process = start(*command, "name=there", "engine=ray", f"address={cluster.address}", f"storage={uri}")
            seen: set[str] = set()

            def two_runs_have_a_whole_one() -> bool:
                """The first one is, when a second one is there: it may still be written to."""
                seen.update(manifests())
                counts = Counter(path.split("/")[-3] for path in seen)
                return sum(count > 1 for count in counts.values()) >= 2

            until(process, two_runs_have_a_whole_one)
            for node in nodes:
                cluster.remove_node(node, allow_graceful=False)
            assert process.stdout is not None
            lack = f"engine=ray: a run needs {CPUS} CPUs, and no node of the cluster has as much (0 CPUs, 0 GPUs); "
            rest = ". Waiting for one; Ctrl-C ends the comparison, and the same command goes on\n"
            assert any(lack in line and line.endswith(rest) for line in process.stdout)
            cluster.add_node(num_cpus=CPUS, num_gpus=0)
            out = process.communicate()[0]
        assert process.returncode == 0, out[-3000:]
        assert steady(Path("runs/compare/there")) == expected
        assert 1 <= went_on(Path("runs/compare/there")) <= 2  # one may just have ended
        assert manifests() == []
    finally:
        server.stop()


@pytest.mark.slow
@needs_ray
def test_the_command_again_after_its_driver_was_killed(small: tuple[tuple[str, ...], list[str]]) -> None:
    command, expected = small
    folder = Path("runs/compare/there")
    with a_cluster(*2 * [{"num_cpus": CPUS, "num_gpus": 0}]) as (cluster, _):
        process = start(*command, "name=there", "engine=ray", f"address={cluster.address}")
        # One run has ended, and a third one has a checkpoint.
        until(process, lambda: list(folder.glob("*/*/result.json")))
        until(process, lambda: len(with_checkpoints(folder / ".ray")) > 2)
        process.send_signal(signal.SIGKILL)
        process.wait()
        kept = {path: path.stat().st_mtime_ns for path in folder.glob("*/*/result.json")}
        run(*command, "name=there", "engine=ray", f"address={cluster.address}", cwd=Path.cwd())
    assert steady(folder) == expected
    assert kept == {path: path.stat().st_mtime_ns for path in kept}
    assert 1 <= went_on(folder) <= 2
    assert not (folder / ".ray").exists()


GIVEN = """
import json, os
from pathlib import Path

names = ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "OMP_WAIT_POLICY")
if "yolo_focal.comparison.worker.run" in " ".join(__import__("sys").orig_argv):
    Path({folder!r}, str(os.getpid())).write_text(json.dumps([os.environ.get(name) for name in names]))
"""


@pytest.mark.slow
@needs_ray
@pytest.mark.skipif(sys.version_info < (3, 10), reason="sys.orig_argv")
def test_each_process_is_given_a_gpu_of_its_own() -> None:
    """The GPUs are declared and not there: the runs fail, and say what they were given."""
    given = Path("given").absolute()
    given.mkdir()
    Path("given.py").write_text(GIVEN.format(folder=str(given)))
    with a_cluster({"num_cpus": 4, "num_gpus": 2}) as (cluster, _):
        arguments = ("data=shapes.yaml", PAIR, "seeds=1", *SMALL[:-1], "engine=ray", f"address={cluster.address}")
        done = run(
            COMMAND,
            "compare",
            *arguments,
            cwd=Path.cwd(),
            check=False,
            YOLO_FOCAL_MODULES=str(Path("given.py").absolute()),
        )
    assert done.stdout.splitlines()[-1] == "2 of 2 runs failed; the same command tries them again"
    assert "2 runs of 8 epochs to go, 2 at a time on a GPU of the cluster" in done.stdout
    assert sorted(json.loads(file.read_text()) for file in given.iterdir()) == [
        ["0", "2", "passive"],
        ["1", "2", "passive"],
    ]
    logs = [file.read_text() for file in Path("runs/compare/compare").glob("*/seed0/log.txt")]
    assert len(logs) == 2 and all("CUDA" in log for log in logs)


@pytest.mark.slow
@needs_ray
def test_a_cluster_that_is_too_small_is_not_waited_for() -> None:
    with a_cluster() as (cluster, _):
        message = refused(address=cluster.address)
    assert "a run needs 1 CPUs, and no node of the cluster has as much (0 CPUs, 0 GPUs)" in message
