"""`yolo-focal compare`: what it refuses, what it says, and that it comes to the same table whatever happens to it."""

from __future__ import annotations

import json
import math
import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import psutil
import pytest
from conftest import COMMAND, environment, run
from scipy import stats

import yolo_focal
from yolo_focal import ConfigError
from yolo_focal.comparison import table, words
from yolo_focal.comparison.plan import Plan, Run, make
from yolo_focal.comparison.statistics import Difference, difference

SMALL = ("imgsz=64", "batch=8", "fraction=0.1", "plots=False", "epochs=3", "warmup_epochs=0")
PAIR = "models=yolov8n.yaml,yolov8n-focal.yaml"
STEADY = ["model", "seed", "finished", "metrics/mAP50-95(B)", "metrics/precision(B)", "fitness", "epochs"]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `runs` be below the test's own folder."""
    monkeypatch.chdir(tmp_path)


# Statistics


def test_the_interval_is_that_of_the_paired_t_test() -> None:
    rng = np.random.RandomState(0)
    first, other = rng.rand(6), rng.rand(6)
    found = difference(first, other)
    reference = stats.ttest_rel(other, first).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((reference.low, reference.high))
    assert found.mean == pytest.approx((other - first).mean()) and found.seeds == 6
    wider = difference(first, other, comparisons=4)
    reference = stats.ttest_rel(other, first).confidence_interval(1 - 0.05 / 4)
    assert (wider.low, wider.high) == pytest.approx((reference.low, reference.high))


@pytest.mark.parametrize("seeds", [2, 3, 5, 10])
def test_equal_models_differ_in_five_percent_of_comparisons(seeds: int) -> None:
    rng = np.random.RandomState(seeds)
    times = 1000
    missed = sum(difference(rng.randn(seeds), rng.randn(seeds)).is_more_than_noise for _ in range(times))
    assert stats.binomtest(missed, times, 0.05).pvalue > 0.001


def test_as_many_seeds_as_it_names_show_the_difference_four_times_out_of_five() -> None:
    rng = np.random.RandomState(0)
    found = difference([0, 0, 0, 0], [0.5, 1.5, 0.2, 1.8])
    assert found.needed is not None
    spread = np.std([0.5, 1.5, 0.2, 1.8], ddof=1)
    shown = [
        difference(np.zeros(found.needed), rng.normal(found.mean, spread, found.needed)).low > 0 for _ in range(500)
    ]
    assert 0.75 < np.mean(shown) < 0.90


def test_a_model_with_itself_has_no_interval() -> None:
    assert difference([0.3, 0.4, 0.5], [0.3, 0.4, 0.5]) == Difference(0, 0, 0, 3, None)
    one = difference([0.3], [0.4])
    assert math.isnan(one.low) and one.seeds == 1 and one.needed is None


# Words

A_PLAN = Plan(Path("x"), ["a.yaml", "b.yaml"], {"a": "a.yaml", "b": "b.yaml"}, "d.yaml", "detect", 5, {}, 1, 1)


@pytest.mark.parametrize(
    ("found", "words_"),
    [
        (
            Difference(0.012, 0.003, 0.021, 5, 4),
            "b is better than a by 0.0120 mAP50-95(B) (95% interval +0.0030 to +0.0210, 5 seeds): more than noise.",
        ),
        (
            Difference(-0.012, -0.021, -0.003, 2, 4),
            "b is worse than a by 0.0120 mAP50-95(B) (95% interval -0.0210 to -0.0030, 2 seeds): more than noise. "
            "With fewer than 3 seeds this is to be taken with caution.",
        ),
        (
            Difference(0.012, -0.003, 0.027, 5, 9),
            "No difference between b and a beyond noise: +0.0120 mAP50-95(B) (95% interval -0.0030 to +0.0270, 5 "
            "seeds). If the true difference is as large as the one seen, about 9 seeds would show it four times out of "
            "five.",
        ),
        (
            Difference(0.0, -0.003, 0.003, 5, None),
            "No difference between b and a beyond noise: +0.0000 mAP50-95(B) (95% interval -0.0030 to +0.0030, 5 "
            "seeds). If the true difference is as large as the one seen, more than 1,000 seeds would show it four "
            "times out of five.",
        ),
        (
            Difference(0.01, math.nan, math.nan, 1, None),
            "b is +0.0100 mAP50-95(B) from a with one seed. One seed says nothing about noise: write seeds=5.",
        ),
        (Difference(0.0, 0.0, 0.0, 5, None), "b and a give the same results."),
        (None, "b and a have no seed that both finished: nothing can be said."),
    ],
)
def test_what_is_said_of_a_difference(found: Difference | None, words_: str) -> None:
    assert words.verdict(A_PLAN, "b", found) == words_


# What is refused


def refusal(**arguments: Any) -> str:
    given = {"data": "shapes.yaml", "models": ["yolov8n.yaml", "yolov8n-focal.yaml"], **arguments}
    with pytest.raises(ConfigError) as caught:
        yolo_focal.compare(**given)
    return str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"models": ["yolov8n.yaml"]},
            "models=yolov8n.yaml: write two or more, such as models=yolov8n.yaml,yolov8n-focal.yaml",
        ),
        ({"seeds": 0}, "seeds=0: write a whole number from 1 on, such as seeds=5"),
        ({"seeds": "x"}, "seeds=x: write a whole number from 1 on, such as seeds=5"),
        ({"workers": 1.5}, "workers=1.5: write a whole number from 1 on, such as workers=5"),
        ({"engine": "slurm"}, "engine=slurm: write engine=local or engine=ray"),
        ({"address": "auto"}, "address=auto: it goes with engine=ray"),
        ({"seed": 1}, "seed=1: compare sets it itself: seeds= says how many; leave it out"),
        (
            {"time": 1},
            "time=1: compare sets it itself: runs have to be of equal length; write epochs=; leave it out",
        ),
        ({"device": "0,1"}, "device=0,1: each run trains on one device; write one, such as device=0"),
        (
            {"models": ["yolov8n.yaml", "yolov8n-seg.yaml"]},
            "models=: yolov8n is for detect, yolov8n-seg for segment; compare models of one task",
        ),
        (
            {"models": ["yolov8n.yaml", "none.pt"]},
            "models=none.pt: there is no such file; write a checkpoint or a model YAML",
        ),
        (
            {"models": ["yolov8n.yaml", "yolov8n"]},
            "models=yolov8n: write model YAMLs or checkpoints, such as yolov8n.yaml or best.pt",
        ),
        ({"pretrained": "none.pt"}, "pretrained=none.pt: there is no such file; write a checkpoint's path"),
    ],
)
def test_what_cannot_work_is_refused_and_leaves_nothing(arguments: dict[str, Any], message: str) -> None:
    assert refusal(**arguments) == message
    assert not Path("runs").exists()


def test_an_unknown_argument_and_missing_data_are_named() -> None:
    assert "'epoch' is not a valid" in refusal(epoch=3) and "epochs" in refusal(epoch=3)
    assert refusal(data="none.yaml").startswith("data=none.yaml: ")
    assert not Path("runs").exists()


def test_something_else_of_the_same_name_is_refused() -> None:
    from yolo_focal.shapes import draw

    draw("set", "detect")
    data = Path("my.yaml")
    data.write_text(f"path: {Path('set').absolute()}\ntrain: images/train\nval: images/val\nnames: [a, b, c]\n")
    shutil.copy(yolo_focal.configs.folder() / "yolov8-focal.yaml", "own.yaml")
    folder, models = Path("runs/compare/one"), ["yolov8n.yaml", "own.yaml"]
    make(folder, "my.yaml", models, 2, 1, {"epochs": 3})
    plan, runs = make(folder, "my.yaml", models, 3, 2, {"epochs": 3})  # more seeds, and another number side by side
    assert len(runs) == 6 and plan.threads == (os.cpu_count() or 1)
    anew = "write name= with another name than one, or what it was begun with"

    def refused(*given: Any) -> str:
        with pytest.raises(ConfigError) as caught:
            make(folder, *given)
        return str(caught.value)

    began = f"{folder} was begun with"
    assert refused("my.yaml", models, 2, 1, {"epochs": 4}) == f"{began} epochs=3, and now it is 4: {anew}"
    assert refused("my.yaml", models, 2, 1, {}) == f"{began} epochs=3, and now it is its default: {anew}"
    assert refused("my.yaml", models[::-1], 2, 1, {"epochs": 3}) == (
        f"{began} models=yolov8n.yaml,own.yaml, and now it is own.yaml,yolov8n.yaml: {anew}"
    )
    Path("own.yaml").write_text(Path("own.yaml").read_text() + "\n# changed\n")
    assert refused("my.yaml", models, 2, 1, {"epochs": 3}) == (
        f"{began} models: own.yaml=the file as it was, and now it is another one of that name: {anew}"
    )
    shutil.copy(yolo_focal.configs.folder() / "yolov8-focal.yaml", "own.yaml")
    label = next(Path("set/labels/train").iterdir())
    label.write_text(label.read_text() + "0 0.5 0.5 0.1 0.1\n")
    assert refused("my.yaml", models, 2, 1, {"epochs": 3}) == (
        f"{began} data=my.yaml as it was, and now it is other images or labels of that name: {anew}"
    )
    (folder / "plan.json").write_text("{}")
    assert refused("my.yaml", models, 2, 1, {"epochs": 3}) == (
        f"{folder / 'plan.json'}: it is not what a comparison writes; write name= with another name"
    )


# The whole


def steady(name: str = "compare") -> pl.DataFrame:
    """Return the table without what differs from time to time."""
    return pl.read_csv(f"runs/compare/{name}/results.csv").select(STEADY)


def test_two_models_from_the_command_line() -> None:
    command = (COMMAND, "compare", "data=shapes.yaml", PAIR, "seeds=2", "workers=2", *SMALL)
    out = run(*command, cwd=Path.cwd()).stdout
    folder = Path("runs/compare/compare")
    assert out.splitlines()[-1] == f"Results saved to {folder / 'report.html'}"
    assert {path.name for path in folder.iterdir() if path.is_file()} >= {"report.html", "results.csv", "summary.json"}
    rows = steady()
    assert rows["model"].to_list() == 2 * ["yolov8n", "yolov8n-focal"] and rows["seed"].to_list() == [0, 0, 1, 1]
    assert rows["finished"].all() and rows["epochs"].to_list() == 4 * [3]
    for png in ("learning-curves", "speed-against-accuracy", "paired-differences-of-yolov8n-focal"):
        assert (folder / f"{png}.png").stat().st_size > 5000
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["first"] == "yolov8n" and summary["differences"]["yolov8n-focal"]["seeds"] == 2
    parameters = {label: one["parameters"] for label, one in summary["profiles"].items()}
    # Of 256 channels: FocalModulation's 297,219 for the 164,224 of SPPF's two convolutions, batch norms fused.
    assert parameters["yolov8n-focal"] - parameters["yolov8n"] == 297_219 - 164_224
    assert all(len(one["onnxruntime"]) == 3 for one in summary["profiles"].values())
    page = (folder / "report.html").read_text()
    assert (
        page.count("<svg") >= 3
        and "http" not in page.replace("http://www.w3.org", "").split("</style>")[1].split("<svg")[0]
    )
    assert summary["words"][0] in page
    # Once more: nothing is trained again, and the report is written anew.
    before = [path.stat().st_mtime_ns for path in sorted(folder.rglob("best.pt"))]
    (folder / "report.html").unlink()
    run(*command, cwd=Path.cwd())
    assert [path.stat().st_mtime_ns for path in sorted(folder.rglob("best.pt"))] == before
    assert (folder / "report.html").exists()


def test_a_run_that_fails_is_reported_and_does_not_stop_the_others() -> None:
    Path("broken.py").write_text(
        "import torch, yolo_focal\n@yolo_focal.register\nclass Broken(torch.nn.Module):\n"
        "    def __init__(self, dim):\n        super().__init__()\n"
        "    def forward(self, x):\n"
        "        if self.training and x.shape[0] == 8:\n            raise RuntimeError('no <b>luck</b>')\n"
        "        return x\n"
    )
    rows = "nc: 3\nbackbone:\n- [-1, 1, Conv, [16, 3, 8]]\n- [-1, 1, Conv, [32, 3, 2]]\n- [-1, 1, {}, []]\n"
    rows += "head:\n- [[0, 2], 1, Detect, [nc]]\n"
    for name, module in (("good", "nn.Identity"), ("bad", "Broken")):
        Path(f"{name}.yaml").write_text(rows.format(module))
    command = (COMMAND, "compare", "data=shapes.yaml", "models=good.yaml,bad.yaml", "seeds=1", *SMALL, "epochs=1")
    done = run(*command, cwd=Path.cwd(), check=False, YOLO_FOCAL_MODULES="broken")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (
        1,
        "1 of 2 runs failed; the same command tries them again",
    )
    folder = Path("runs/compare/compare")
    page = (folder / "report.html").read_text()
    log = folder / "bad" / "seed0" / "log.txt"
    said = f"bad, seed 0 failed: RuntimeError: no <b>luck</b> (the whole log: {log}). The same command tries it again."
    assert said in done.stdout
    assert "no &lt;b&gt;luck&lt;/b&gt;" in page and "<b>luck" not in page
    assert "have no seed that both finished" in page
    assert steady()["finished"].to_list() == [True, False]


def outcome(**result: Any) -> table.Outcome:
    found = {
        "metrics": {"metrics/mAP50-95(B)": 0.5},
        "classes": {"a": 0.5},
        "names": ["a", "b"],
        "seconds": 1.0,
        **result,
    }
    return table.Outcome(Run(Path("x/a/seed0"), "a", 0), found, "", [0.5], None)


def test_what_the_report_warns_of() -> None:
    failed = outcome()._replace(result=None, failure="OSError: [Errno 28] No space left on device", nan_epoch=2)
    assert words.warnings(A_PLAN, [outcome(), failed]) == [
        f"a, seed 0 failed: OSError: [Errno 28] No space left on device (the whole log: {Path('x/a/seed0/log.txt')}). "
        "The same command tries it again.",
        "a, seed 0: the loss was no number in epoch 2.",
        "The validation images have no labels of b: nothing is said about these classes.",
    ]


def still_running() -> list[str]:
    """Return the commands of the runs of this test that are alive."""
    commands = [process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"])]
    return [
        " ".join(one) for one in commands if "yolo_focal.comparison.run" in one and str(Path.cwd()) in " ".join(one)
    ]


@pytest.mark.slow
def test_killed_ten_times_it_comes_to_the_same_table() -> None:
    command = [COMMAND, "compare", "data=shapes.yaml", PAIR, "seeds=2", "workers=2", *SMALL, "epochs=6"]
    run(*command, "name=whole", cwd=Path.cwd())
    began = time.monotonic()
    run(*command, "name=timed", cwd=Path.cwd())
    usual = time.monotonic() - began
    rng = random.Random(0)
    for _ in range(10):
        process = subprocess.Popen(
            [*command, "name=killed"],
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        time.sleep(rng.uniform(0.1, 0.7) * usual)
        process.send_signal(signal.SIGKILL)
        process.wait()
        deadline = time.monotonic() + 20
        while still_running():  # they notice by themselves
            assert time.monotonic() < deadline
            time.sleep(0.1)
    run(*command, "name=killed", cwd=Path.cwd())
    assert steady("killed").equals(steady("whole"))
    assert steady("timed").equals(steady("whole"))


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
    run(COMMAND, "compare", f"data={data}", models, "seeds=1", "workers=2", *SMALL, "epochs=1", cwd=Path.cwd())
    found = json.loads(Path("runs/compare/compare/summary.json").read_text())
    assert found["metric"] == name
    assert found["differences"][f"yolov8n-focal{task}"]["seeds"] == 1
    assert "One seed says nothing about noise" in found["words"][0]
    assert pl.read_csv("runs/compare/compare/results.csv")[name].null_count() == 0


@pytest.mark.slow
def test_two_workers_of_ray_come_to_the_same_table() -> None:
    pytest.importorskip("ray")
    command = (COMMAND, "compare", "data=shapes.yaml", PAIR, "seeds=2", "workers=2", *SMALL)
    run(*command, "name=here", cwd=Path.cwd())
    run(*command, "name=there", "engine=ray", cwd=Path.cwd())
    assert steady("there").equals(steady("here"))
    assert steady("there")["finished"].all()


@pytest.mark.slow
def test_a_model_with_itself_gives_the_same_results() -> None:
    command = (COMMAND, "compare", "data=shapes.yaml", "models=yolov8n.yaml,yolov8n.yaml", "seeds=2", *SMALL)
    out = run(*command, cwd=Path.cwd()).stdout
    assert "yolov8n-2 and yolov8n give the same results." in out
