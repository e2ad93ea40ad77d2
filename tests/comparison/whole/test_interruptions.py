"""Whole, whatever happens: interrupted, moved, started twice, on a full disk, with files cut off."""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
import time
from pathlib import Path

import few
import pytest
import runs
from comparison.commands import LEARNT, PAIR, steady
from support import COMMAND, run, start

FOUR_RUNS = (COMMAND, "compare", f"data={few.DATA}", PAIR, "seeds=2", "parallel=2", *LEARNT)


@pytest.fixture(scope="module")
def whole(few_images: None, tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: ARG001
    """A folder in which `FOUR_RUNS` has ended without an interruption, and how long it took, `seconds.txt`."""
    folder = tmp_path_factory.mktemp("whole")
    began = time.monotonic()
    out = run(*FOUR_RUNS, cwd=folder).stdout
    assert "2 seeds and 24 images: the minimum detectable difference is about " in out
    scores = steady(folder=folder)["score mean_of_last"]
    assert scores.min() > 0 and scores.n_unique() == 4
    (folder / "seconds.txt").write_text(str(time.monotonic() - began))
    return folder


@pytest.mark.slow
def test_the_same_command_again_trains_only_what_is_not_whole(whole: Path) -> None:
    shutil.copytree(whole / "runs", "runs")
    folder = Path("runs/compare/compare")
    before = [path.stat().st_mtime_ns for path in sorted(folder.rglob("best.pt"))]
    assert len(before) == 4
    (folder / "report.html").unlink()
    run(*FOUR_RUNS, cwd=Path.cwd())
    assert [path.stat().st_mtime_ns for path in sorted(folder.rglob("best.pt"))] == before
    assert (folder / "report.html").exists()
    # A file of a finished run cut off at any length: that run is done again, to the same table.
    cut_off(folder / "yolov8n" / "seed1" / "result.json")
    for name in ("results.csv", "summary.json", "plan.json", "costs.json"):
        cut_off(folder / name)
    out = run(*FOUR_RUNS, cwd=Path.cwd()).stdout
    assert f"{folder}: 4 runs, 3 of them finished" in out
    assert steady().equals(steady(folder=whole))


def cut_off(file: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: random.Random(len(content)).randrange(len(content))])


@pytest.mark.slow
def test_killed_ten_times_it_comes_to_the_same_table(whole: Path) -> None:
    usual = float((whole / "seconds.txt").read_text())
    rng = random.Random(0)
    for _ in range(10):
        process = start(*FOUR_RUNS)
        time.sleep(rng.uniform(0.1, 0.35) * usual)
        runs.kill(process, Path.cwd())
    run(*FOUR_RUNS, cwd=Path.cwd())
    assert steady().equals(steady(folder=whole))


@pytest.mark.slow
@pytest.mark.usefixtures("few_images")
def test_a_comparison_that_is_moved_goes_on_to_the_same_table() -> None:
    """Its folder is copied to another path, and the data too."""
    command = [COMMAND, "compare", PAIR, "seeds=1", "folds=2", *LEARNT, "epochs=2"]
    for place in ("here", "else where"):
        Path(place).mkdir()
        Path(place, "my.yaml").write_text(few.yaml_of(Path(place, "set")))
    shutil.copytree(few.FOLDER / "set", "here/set")
    run(*command, "data=my.yaml", "name=stayed", cwd=Path("here"))
    process = start(*command, "data=my.yaml", "name=moved", cwd=Path("here"))
    while not list(Path("here/runs/compare/moved").glob("*/*/snapshots/epoch-*")):
        assert process.poll() is None
        time.sleep(0.1)
    runs.kill(process, Path.cwd())
    Path("else where/runs/compare").mkdir(parents=True)
    shutil.copytree("here/runs/compare/moved", "else where/runs/compare/moved")
    Path("here/set").rename("else where/set")
    run(*command, "data=my.yaml", "name=moved", "device=cpu", "cache=ram", cwd=Path("else where"))
    shutil.copytree("else where/runs/compare/moved", "runs/compare/moved")
    shutil.copytree("here/runs/compare/stayed", "runs/compare/stayed")
    assert steady("moved").equals(steady("stayed"))
    assert steady("moved")["score mean_of_last"].min() > 0


@pytest.mark.slow
def test_two_of_the_same_command_at_once(whole: Path) -> None:
    first = start(*FOUR_RUNS)
    while not Path("runs/compare/compare/plan.json").exists():
        assert first.poll() is None
        time.sleep(0.1)
    second = run(*FOUR_RUNS, cwd=Path.cwd(), check=False)
    assert second.returncode == 1
    assert re.fullmatch(
        rf"runs/compare/compare: process {first.pid} on \S+ has been working there since [\d -:]+; wait until it ends, "
        r"or write name= with another name",
        second.stdout.splitlines()[-1],
    )
    first.communicate()
    assert first.returncode == 0
    assert steady().equals(steady(folder=whole))


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("mount"), reason="it needs a file system of its own, to fill")
@pytest.mark.usefixtures("few_images")
def test_a_full_disk_costs_no_result(tmp_path: Path) -> None:
    command = [COMMAND, "compare", f"data={few.DATA}", PAIR, "seeds=1", *LEARNT]
    out = run(*command, "name=whole", cwd=tmp_path).stdout
    assert "1 of 2 runs have finished, about " in out  # after the first epoch of the second model
    disk = tmp_path / "runs" / "compare" / "small"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=150m", "tmpfs", str(disk)], check=False).returncode:
        pytest.skip("a file system cannot be mounted here")
    try:
        filler = disk / "filler"
        for free in (1, 30, 45, 60):  # MiB: not enough for a checkpoint, for a snapshot, for a second run...
            used = sum(path.stat().st_size for path in disk.rglob("*") if path.is_file() and path != filler)
            filler.write_bytes(b"0" * max(0, 150 * 2**20 - used - free * 2**20 - 2**18))
            done = run(*command, "name=small", cwd=tmp_path, check=False)
            assert "Traceback" not in done.stdout
            filler.unlink()
        run(*command, "name=small", cwd=tmp_path)
        assert steady("small").equals(steady("whole"))
    finally:
        subprocess.run(["umount", str(disk)], check=True)
