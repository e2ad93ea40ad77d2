"""Whole comparisons: from the command line, interrupted, on a full disk, with files cut off, of every task."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import few
import jsonschema
import polars as pl
import pytest
import runs
import torch
from support import COMMAND, run, start

import yolo_focal
from yolo_focal import ConfigError
from yolo_focal.comparison.report import model_cost

SCHEMA = json.loads(Path(model_cost.__file__).with_name("summary.schema.json").read_text(encoding="utf-8"))
PAIR = "models=yolov8n.yaml,yolov8n-focal.yaml"
SMALL = ("imgsz=64", "batch=8", "fraction=0.1", "plots=False", "epochs=3", "warmup_epochs=1")
# Of a few images, from a checkpoint: scores that are not zero after short trainings, and differ from seed to seed.
LEARNT = ("imgsz=64", "batch=8", "plots=False", "epochs=3", "warmup_epochs=1", f"pretrained={few.START}")
FOUR_RUNS = (COMMAND, "compare", f"data={few.DATA}", PAIR, "seeds=2", "parallel=2", *LEARNT)


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def few_images(checkpoint: Path) -> None:
    few.write(checkpoint)


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


def steady(name: str = "compare", folder: Path = Path()) -> pl.DataFrame:
    """Return the table without what differs from time to time."""
    frame = pl.read_csv(folder / "runs/compare" / name / "results.csv")
    return frame.drop("seconds", "cpu_seconds", "peak_memory_mib")


def summary(name: str = "compare") -> Any:
    return json.loads(Path(f"runs/compare/{name}/summary.json").read_text(encoding="utf-8"))


def test_two_models_from_the_command_line() -> None:
    small = (*SMALL, "epochs=1", "warmup_epochs=0")
    out = run(COMMAND, "compare", "data=shapes.yaml", PAIR, "seeds=1", *small, cwd=Path.cwd()).stdout
    folder = Path("runs/compare/compare")
    lines = out.splitlines()
    assert lines[-1] == f"Results saved to {folder / 'report.html'}"
    begun = lines.index(f"{folder}: 2 runs, 0 of them finished")
    assert lines[begun + 1] == "2 runs of 1 epochs to go, 1 at a time on the default device"
    assert re.fullmatch(r"They need about [\d,]+ MiB of disk, and [\d,]+ MiB are free", lines[begun + 2])
    assert re.search(r"yolov8n, seed0: 1 epochs in \d+ s, \d\.\d{4}", out)
    assert "1 of 2 runs have finished; the time left is known after the first epoch of each model" in out
    assert {path.name for path in folder.iterdir() if path.is_file() and path.name != ".lock"} == {
        *("plan.json", "costs.json", "report.html", "results.csv", "summary.json"),
        *("learning-curves.png", "accuracy-against-time.png", "differences-1-yolov8n-focal.png"),
    }
    rows = steady()
    assert rows["model"].to_list() == ["yolov8n", "yolov8n-focal"] and rows["finished"].all()
    found = summary()
    jsonschema.validate(found, SCHEMA)
    parameters = {label: cost["parameters"] for label, cost in found["costs"].items()}
    # Of 256 channels: FocalModulation's 297,219 for the 164,224 of SPPF's two convolutions, batch norms fused.
    assert parameters["yolov8n-focal"] - parameters["yolov8n"] == 297_219 - 164_224
    assert all(len(cost["onnxruntime"]) == len(cost["cpu"]) == 3 for cost in found["costs"].values())
    assert json.loads((folder / "yolov8n/seed0/result.json").read_text(encoding="utf-8"))["without"] == {}
    assert found["score"] == "mean_of_last" and found["environments"][0]["torch"] == torch.__version__.partition("+")[0]
    status = run(COMMAND, "compare", "status", cwd=Path.cwd()).stdout.splitlines()
    assert status[-4] == f"{folder}: 2 of 2 runs have finished"
    assert [line.split()[:4] for line in status[-2:]] == [
        ["yolov8n", "seed0", "the", "default"],
        ["yolov8n-focal", "seed0", "the", "default"],
    ]


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


BROKEN = """
import torch, yolo_focal

@yolo_focal.register
class Broken(torch.nn.Module):
    def __init__(self, dim):
        super().__init__()

    def forward(self, x):
        if self.training and x.shape[0] == 8:
            raise RuntimeError('no <b>luck</b>')
        return x
"""


@pytest.mark.slow
def test_a_run_that_fails_is_reported_and_does_not_stop_the_others() -> None:
    Path("broken.py").write_text(BROKEN)
    rows = "nc: 3\nbackbone:\n- [-1, 1, Conv, [16, 3, 8]]\n- [-1, 1, Conv, [32, 3, 2]]\n- [-1, 1, {}, []]\n"
    rows += "head:\n- [[0, 2], 1, Detect, [nc]]\n"
    for name, module in (("good", "nn.Identity"), ("bad", "Broken")):
        Path(f"{name}.yaml").write_text(rows.format(module))
    command = (COMMAND, "compare", "data=shapes.yaml", "models=good.yaml,bad.yaml", "seeds=1", *SMALL, "epochs=1")
    done = run(*command, cwd=Path.cwd(), check=False, YOLO_FOCAL_MODULES="broken.py")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (
        1,
        "1 of 2 runs failed; the same command tries them again",
    )
    folder = Path("runs/compare/compare")
    page = (folder / "report.html").read_text(encoding="utf-8")
    log = folder / "bad" / "seed0" / "log.txt"
    said = f"bad, seed0 failed: RuntimeError: no <b>luck</b> (the whole log: {log}). The same command tries it again."
    assert said in done.stdout
    assert "no &lt;b&gt;luck&lt;/b&gt;" in page and "<b>luck" not in page
    assert "have no seed that both finished" in page
    assert steady()["finished"].to_list() == [True, False]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"engine": "slurm"}, "engine=slurm: write engine=local or engine=ray"),
        ({"address": "auto"}, "address=auto: it goes with engine=ray"),
        ({"storage": "s3://bucket"}, "storage=s3://bucket: it goes with engine=ray"),
    ],
)
def test_what_is_refused_at_once(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        yolo_focal.compare("shapes.yaml", ["yolov8n.yaml", "yolov8n-focal.yaml"], **arguments)
    assert str(caught.value) == message
    assert list(Path().iterdir()) == []


def test_a_comparison_leaves_the_number_of_threads_as_it_was() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with pytest.raises(ConfigError):
            yolo_focal.compare("none.yaml", ["yolov8n.yaml", "yolov8n-focal.yaml"])
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


def test_costs_stand_on_their_own_feet(tmp_path: Path) -> None:
    """A model that cannot be loaded, or takes another number of channels, does not stop the others."""
    code = (
        "from ultralytics import YOLO; from ultralytics.nn.tasks import DetectionModel\n"
        "m = YOLO('yolov8n.yaml'); m.save('rgb.pt'); m.model = DetectionModel('yolov8n.yaml', ch=1); m.save('gray.pt')"
    )
    run(sys.executable, "-c", code, cwd=tmp_path)
    Path("cut.pt").write_bytes(Path("rgb.pt").read_bytes()[:1000])
    threads = torch.get_num_threads()
    found = model_cost.measure({name: tmp_path / f"{name}.pt" for name in ("rgb", "gray", "cut")}, 64, "cpu")
    assert torch.get_num_threads() == threads
    assert found["gray"].cpu is not None and found["gray"].onnxruntime is not None and found["gray"].notes == []
    assert found["gray"].parameters == (found["rgb"].parameters or 0) - 2 * 16 * 9
    assert found["cut"][:5] == (None, None, None, None, None)
    assert [note.partition(":")[0] for note in found["cut"].notes] == ["the checkpoint", "GFLOPs"]


# Whole, whatever happens


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


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "name"),
    [
        ("-seg", "metrics/mAP50-95(M)"),
        ("-pose", "metrics/mAP50-95(P)"),
        ("-obb", "metrics/mAP50-95(B)"),
        ("-cls", "metrics/accuracy_top1"),
    ],
)
def test_every_task(task: str, name: str) -> None:
    data = f"shapes{task}.yaml"
    if task == "-cls":
        data = "shapes-cls"
        run(COMMAND, "shapes-cls", cwd=Path.cwd())
    models = f"models=yolov8n{task}.yaml,yolov8n-focal{task}.yaml"
    run(COMMAND, "compare", f"data={data}", models, "seeds=1", "parallel=2", *SMALL, "epochs=1", cwd=Path.cwd())
    found = summary()
    assert found["metric"] == name
    assert found["differences"][0]["over_seeds"]["seeds"] == 1
    assert "One seed says nothing about noise" in found["words"][0]
    assert steady()[name].null_count() == 0


@pytest.mark.slow
@pytest.mark.usefixtures("few_images")
def test_a_model_with_itself_gives_the_same_results() -> None:
    pair = "models=yolov8n.yaml,yolov8n.yaml"
    command = (COMMAND, "compare", f"data={few.DATA}", pair, "seeds=2", *LEARNT, "epochs=1")
    out = run(*command, cwd=Path.cwd()).stdout
    assert "yolov8n-2 and yolov8n give the same results." in out
    scores = steady()["score mean_of_last"]
    assert scores.min() > 0 and scores.n_unique() == 2


@pytest.mark.slow
@pytest.mark.usefixtures("few_images")
def test_test_images_folds_time_and_more_seeds() -> None:
    Path("own.yaml").write_text(few.yaml_of(few.FOLDER / "set", "test: images/val\n"))
    common = (COMMAND, "compare", PAIR, *LEARNT, "epochs=1")
    run(*common, "data=own.yaml", "seeds=1", "name=test", cwd=Path.cwd())
    found = summary("test")
    assert found["score"] == "test"
    assert steady("test")["score test"].min() > 0
    out = run(*common, "data=own.yaml", "seeds=2", "name=test", cwd=Path.cwd()).stdout
    assert "The comparison was extended after a verdict at 1 seeds" in out
    run(*common, f"data={few.DATA}", "seeds=1", "folds=2", "name=folds", cwd=Path.cwd())
    rows = steady("folds")
    assert rows["fold"].to_list() == [0, 0, 1, 1]
    assert summary("folds")["differences"][0]["over_seeds"]["seeds"] == 2
    run(*common, f"data={few.DATA}", "seeds=1", "time=0.002", "name=time", cwd=Path.cwd())
    assert steady("time")["finished"].all()


@pytest.mark.slow
def test_runs_have_names_of_their_own_in_tensorboard() -> None:
    pytest.importorskip("tensorboard")
    run("yolo", "settings", "tensorboard=True", cwd=Path.cwd())
    try:
        run(COMMAND, "compare", "data=shapes.yaml", PAIR, "seeds=2", *SMALL, "epochs=1", cwd=Path.cwd())
    finally:
        run("yolo", "settings", "tensorboard=False", cwd=Path.cwd())
    logged = sorted(path.parent.name for path in Path("runs").rglob("events.out.tfevents.*"))
    assert logged == ["yolov8n-focal-seed0", "yolov8n-focal-seed1", "yolov8n-seed0", "yolov8n-seed1"]
