"""What each run is given: a device, the devices that its process sees, threads; and the order in which runs start."""

from __future__ import annotations

import heapq
import random
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from yolo_focal import ConfigError
from yolo_focal.comparison.launch import local
from yolo_focal.comparison.launch.devices import Slot, numbers, on_this_machine, slots
from yolo_focal.comparison.launch.process import Job, process_environment
from yolo_focal.comparison.launch.queue import Schedule
from yolo_focal.comparison.store.run_folder import RunSpec


def gpu(number: int, visible: str | None = None) -> Slot:
    return Slot("0", str(number) if visible is None else visible, f"GPU {number}")


@pytest.mark.parametrize(
    ("device", "parallel", "per_device", "visible", "given"),
    [
        (None, None, 1, None, [Slot(None, None, "the default device")]),
        ("cpu", 2, 1, None, 2 * [Slot("cpu", None, "cpu")]),
        ("mps", None, 1, None, [Slot("mps", None, "mps")]),
        (0, None, 1, None, [gpu(0)]),
        ("cuda:1", None, 1, None, [gpu(1)]),
        ("0,1", None, 1, None, [gpu(0), gpu(1)]),
        ((0, 1), None, 1, None, [gpu(0), gpu(1)]),
        ([2, 3], None, 2, None, [gpu(2), gpu(3), gpu(2), gpu(3)]),
        ("0,1,2,3", 2, 1, None, [gpu(0), gpu(1)]),
        ("0,1,2,3", 5, 2, None, [gpu(0), gpu(1), gpu(2), gpu(3), gpu(0)]),
        (",".join(map(str, range(8))), None, 1, None, [gpu(number) for number in range(8)]),
        ("0,1", None, 1, "4,6", [gpu(0, "4"), gpu(1, "6")]),  # numbers count the GPUs that this process sees
        ("1", None, 1, "GPU-aa, GPU-bb", [gpu(1, "GPU-bb")]),
    ],
)
def test_the_places_for_runs(
    device: Any, parallel: int | None, per_device: int, visible: str | None, given: list[Slot]
) -> None:
    assert slots(device, parallel, per_device, visible) == given


@pytest.mark.parametrize(
    ("device", "parallel", "gpus_per_run", "visible", "given"),
    [
        ("0,1", None, 2, None, [Slot("0,1", "0,1", "GPUs 0, 1")]),
        ("0,1,2,3", None, 2, None, [Slot("0,1", "0,1", "GPUs 0, 1"), Slot("0,1", "2,3", "GPUs 2, 3")]),
        ("0,1,2,3", 1, 2, None, [Slot("0,1", "0,1", "GPUs 0, 1")]),
        (
            list(range(8)),
            None,
            4,
            None,
            [Slot("0,1,2,3", f"{a},{a + 1},{a + 2},{a + 3}", f"GPUs {a}, {a + 1}, {a + 2}, {a + 3}") for a in (0, 4)],
        ),
        ("1,0", None, 2, "4,6", [Slot("0,1", "6,4", "GPUs 1, 0")]),
    ],
)
def test_the_places_for_runs_of_several_gpus(
    device: Any, parallel: int | None, gpus_per_run: int, visible: str | None, given: list[Slot]
) -> None:
    assert slots(device, parallel, 1, visible, gpus_per_run) == given


@pytest.mark.parametrize(
    ("device", "parallel", "message"),
    [
        (
            "0,1,2",
            None,
            "device=0,1,2: it names 3 GPUs, and each run takes gpus_per_run=2; write 2 or 4, such as device=0,1",
        ),
        (None, None, "device=: it names 0 GPUs, and each run takes gpus_per_run=2; write 2 or 4, such as device=0,1"),
        (
            "cpu",
            None,
            "device=cpu: it names 0 GPUs, and each run takes gpus_per_run=2; write 2 or 4, such as device=0,1",
        ),
        (
            "0,1",
            2,
            "parallel=2: device=0,1 and gpus_per_run=2 have room for 1 runs at once; write parallel=1, or leave it out",
        ),
    ],
)
def test_devices_that_do_not_come_to_whole_runs(device: Any, parallel: int | None, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        slots(device, parallel, 1, None, 2)
    assert str(caught.value) == message


def test_the_cpus_are_shared_among_all_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 33)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    devices = {1: "0", 2: "0,1", 4: "0,1,2,3", 8: "0,1,2,3,4,5,6,7"}
    threads = {count: on_this_machine(device, None, 1, 1).threads for count, device in devices.items()}
    assert threads == {1: 32, 2: 16, 4: 8, 8: 4}
    assert on_this_machine(devices[4], None, 2, 1).threads == 4
    assert [on_this_machine(devices[8], None, 1, count).threads for count in (2, 4, 8)] == [4, 4, 4]


@pytest.mark.parametrize(
    ("device", "parallel", "visible", "message"),
    [
        ("0,0", None, None, "device=0,0: it names a GPU twice; write per_device=2 for two runs at once on each"),
        ("0,cpu", None, None, "device=0,cpu: write the GPUs' numbers, such as device=0,1, or device=cpu"),
        (-1, None, None, "device=-1: write the GPUs' numbers, such as device=0,1, or device=cpu"),
        ("0,2", None, "4,6", "device=0,2: CUDA_VISIBLE_DEVICES=4,6 leaves 2, whose numbers are 0 to 1"),
        (
            "0,1",
            3,
            None,
            "parallel=3: device=0,1 and per_device=1 have room for 2 runs at once; write per_device=2 or fewer runs",
        ),
    ],
)
def test_devices_that_are_refused(device: Any, parallel: int | None, visible: str | None, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        slots(device, parallel, 1, visible)
    assert str(caught.value) == message


def test_the_gpu_that_times_are_taken_on() -> None:
    assert [numbers(device) for device in (None, "cpu", 0, "1,2", "cuda:3")] == [[], [], [0], [1, 2], [3]]


def a_task(**other: Any) -> RunSpec:
    task = RunSpec(
        model="m.yaml",
        data="d.yaml",
        seed=0,
        arguments={"epochs": 3, "device": "0,1"},
        threads=3,
        last_epochs=3,
        test=False,
        snapshot_every=1,
        metric="metrics/x",
        ablations=[],
        place="",
        fingerprint="0",
    )
    return replace(task, **other)


def test_a_process_sees_its_own_gpu_and_waits_passively() -> None:
    common = {"OMP_NUM_THREADS": "3", "MKL_NUM_THREADS": "3", "OMP_WAIT_POLICY": "passive"}
    assert process_environment(a_task(), gpu(2)) == {**common, "CUDA_VISIBLE_DEVICES": "2"}
    assert process_environment(a_task(), slots("2,3", None, 1, None, 2)[0]) == {**common, "CUDA_VISIBLE_DEVICES": "2,3"}
    assert process_environment(a_task(), Slot("cpu", None, "cpu")) == common


def test_each_place_takes_one_run_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The runs of four models on two GPUs, without what they would train."""
    busy: list[str] = []
    given: list[tuple[str, str]] = []
    lock = threading.Lock()

    def execute(job: Job, slot: Slot, *_: Any) -> None:
        with lock:
            assert slot.name not in busy
            busy.append(slot.name)
            given.append((job.folder.name, slot.name))
        threading.Event().wait(0.01)
        with lock:
            busy.remove(slot.name)

    monkeypatch.setattr(local, "_execute", execute)
    jobs = [Job(tmp_path / f"m{index % 4}" / f"seed{index}", a_task()) for index in range(20)]
    local.on_this_machine(jobs, slots("0,1", None, 1, None), lambda: None)
    assert sorted(name for name, _ in given) == sorted(job.folder.name for job in jobs)
    assert {name for _, name in given} == {"GPU 0", "GPU 1"}


def length_of(jobs: list[tuple[str, int]], places: int, lengths: dict[tuple[str, int], float]) -> float:
    """Return how long a schedule takes."""
    schedule = Schedule(jobs, places, lambda job: job[0])
    free: list[tuple[float, int, tuple[str, int] | None]] = [(0.0, place, None) for place in range(places)]
    end = 0.0
    while free:
        now, place, job = heapq.heappop(free)
        if job is not None:
            schedule.ended(job, lengths[job])
        following = schedule.next()
        if following is None:
            end = max(end, now)
        else:
            heapq.heappush(free, (now + lengths[following], place, following))
    return end


def longest_first(lengths: dict[tuple[str, int], float], places: int) -> float:
    """Return how long it takes to start the longest first, all lengths known beforehand."""
    free = [0.0] * places
    for length in sorted(lengths.values(), reverse=True):
        heapq.heapreplace(free, free[0] + length)
    return max(free)


@pytest.mark.parametrize("models", [2, 5, 10])
@pytest.mark.parametrize("places", [2, 3, 4, 6, 8])
def test_fifty_runs_take_hardly_longer_than_if_their_lengths_were_known(models: int, places: int) -> None:
    for trial in range(20):
        rng = random.Random(trial)
        usual = [rng.uniform(1, 10) for _ in range(models)]
        jobs = [(str(model), seed) for seed in range(50 // models) for model in range(models)]
        lengths = {job: usual[int(job[0])] * rng.uniform(0.9, 1.1) for job in jobs}
        assert length_of(jobs, places, lengths) <= 1.05 * longest_first(lengths, places)


def test_early_seeds_are_started_first() -> None:
    jobs = [(model, seed) for seed in range(10) for model in "ab"]
    schedule = Schedule(jobs, 2, lambda job: job[0])
    assert [schedule.next() for _ in range(10)] == jobs[:10]
