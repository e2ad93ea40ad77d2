"""Runs of several processes that share each batch, on the CPU in the place of GPUs: see `cpu_processes`."""

from __future__ import annotations

import time
from pathlib import Path

import cpu_processes
import few
import polars as pl
import pytest
import runs
from support import COMMAND, run, start

from yolo_focal.comparison.stats.average_precision import Scorer
from yolo_focal.comparison.store import validations
from yolo_focal.comparison.store.results_csv import read_curve
from yolo_focal.comparison.store.run_folder import METRICS, complete_snapshots, training_folder, validation_files

pytestmark = pytest.mark.slow
COMPARE = (
    *(COMMAND, "compare", "models=yolov8n.yaml,yolov8n-focal.yaml", "seeds=1", "device=0,1", "gpus_per_run=2"),
    *("imgsz=64", "batch=8", "plots=False", "epochs=3", "warmup_epochs=1", f"pretrained={few.START}"),
)


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few.write(checkpoint)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("YOLO_FOCAL_MODULES", cpu_processes.__file__)


def table(name: str) -> pl.DataFrame:
    return pl.read_csv(f"runs/compare/{name}/results.csv").drop(
        "seconds", "cpu_seconds", "peak_memory_mib", strict=False
    )


def test_interrupted_it_comes_to_the_same_table() -> None:
    out = run(*COMPARE, f"data={few.DATA}", "name=whole", cwd=Path.cwd()).stdout
    assert "2 runs of 3 epochs to go, 1 at a time on GPUs 0, 1" in out
    folder = Path("runs/compare/whole/yolov8n/seed0")
    found = validations.load_all(validation_files(folder))
    assert [len(validation.images) for validation in found] == 3 * [24]  # those of both processes, once each
    curve = read_curve(training_folder(folder) / "results.csv", METRICS["detect"])
    scores = [Scorer(validation, "detect").score() for validation in found]
    assert scores == pytest.approx(curve.values, abs=1e-4) and min(scores) > 0
    assert not (folder / "trained.json").exists()

    process = start(*COMPARE, f"data={few.DATA}", "name=interrupted")
    folder = Path("runs/compare/interrupted/yolov8n/seed0")
    while not complete_snapshots(folder / "snapshots"):
        assert process.poll() is None
        time.sleep(0.1)
    assert len(runs.alive(Path.cwd())) == 3
    runs.kill(process, Path.cwd())
    run(*COMPARE, f"data={few.DATA}", "name=interrupted", cwd=Path.cwd())
    assert table("interrupted").equals(table("whole"))
    assert "Going on after epoch" in (folder / "log.txt").read_text()


def test_a_process_that_is_lost_or_fails() -> None:
    """The run ends with the reason, and the others end too."""
    process = start(*COMPARE, f"data={few.DATA}")
    while len(found := runs.alive(Path.cwd())) < 3:
        assert process.poll() is None
        time.sleep(0.1)
    max(found, key=lambda one: one.create_time()).kill()
    process.communicate(timeout=300)
    assert not runs.alive(Path.cwd())
    assert table("compare")["failure"].fill_null("").to_list() == ["the process was ended by signal 9", ""]

    run(*COMPARE, f"data={few.DATA}", "name=wrong", "optimizer=nope", cwd=Path.cwd(), check=False)
    failures = table("wrong")["failure"]
    assert failures.str.starts_with("RuntimeError: NotImplementedError: Optimizer 'nope' not found").all()


def test_images_that_the_sampler_repeats_are_recorded_once() -> None:
    """Classifiers are validated in shuffled order, and each process has as many images: of 23 one comes twice."""
    few.draw(Path("set"), "classify", train=16, val=23)
    compare = [word for word in COMPARE if not word.startswith(("models=", "epochs=", "pretrained="))]
    given = ("models=yolov8n-cls.yaml,yolov8n-focal-cls.yaml", "epochs=1", f"data={Path('set').absolute()}")
    run(*compare, *given, cwd=Path.cwd())
    folder = Path("runs/compare/compare/yolov8n-cls/seed0")
    (validation,) = validations.load_all(validation_files(folder))
    assert len(validation.images) == 23
