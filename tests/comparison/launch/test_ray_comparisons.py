"""Whole comparisons on a Ray cluster: lost nodes, storage in a bucket, a driver that is killed."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import few
import pytest
from comparison.clusters import a_cluster, needs_ray
from support import COMMAND, run, start

from yolo_focal.comparison.launch.devices import cores
from yolo_focal.comparison.store.files import digest, read_json

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
