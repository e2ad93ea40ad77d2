"""Whole comparisons: from the command line, with runs that fail, of every task, on test images and folds."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import few
import jsonschema
import pytest
import torch
from comparison.commands import LEARNT, PAIR, steady
from support import COMMAND, run

import yolo_focal
from yolo_focal import ConfigError
from yolo_focal.comparison.report import model_cost

SCHEMA = json.loads(Path(model_cost.__file__).with_name("summary.schema.json").read_text(encoding="utf-8"))
SMALL = ("imgsz=64", "batch=8", "fraction=0.1", "plots=False", "epochs=3", "warmup_epochs=1")


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
