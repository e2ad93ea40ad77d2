"""The scripts behind the evidence: what is compared, what it costs, and what is said of several data sets at once."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import few
import polars as pl
import pytest
from support import COMMAND, REPO, run

from yolo_focal.comparison.stats.paired_t import difference

SCRIPTS = REPO / "scripts" / "experiments"


@pytest.fixture
def comparisons(tmp_path: Path) -> list[Path]:
    """Two data sets' comparisons of three models with the seeds 3 to 6."""
    scores = {"a": [0.5, 0.52, 0.49, 0.51], "b": [0.6, 0.61, 0.59, 0.63], "c": [0.49, 0.53, 0.5, 0.5]}
    for name, shift in (("one", 0.0), ("two", 0.1)):
        rows = [
            {"model": model, "seed": 3 + index, "finished": True, "score mean_of_last": score + shift * (model == "b")}
            for model, of_model in scores.items()
            for index, score in enumerate(of_model)
        ]
        (tmp_path / name).mkdir()
        pl.DataFrame(rows).write_csv(tmp_path / name / "results.csv")
    return [tmp_path / "one", tmp_path / "two"]


def test_comparisons_are_pooled_seed_by_seed(comparisons: list[Path], tmp_path: Path) -> None:
    script = (sys.executable, SCRIPTS / "pool_comparisons.py", *comparisons)
    holm = run(*script, f"plot={tmp_path / 'plot.png'}", cwd=tmp_path).stdout.splitlines()
    assert holm[0] == "| against a | mean | one | two | p of the mean |"
    assert [line.split(" | ")[0] for line in holm[2:]] == ["| b", "| c"]  # the highest mean first
    a, b = [0.5, 0.52, 0.49, 0.51], [0.65, 0.66, 0.64, 0.68]
    twice = difference(a, b, comparisons=2)
    assert f"| b | {twice.mean:+.4f} ({twice.low:+.4f} to {twice.high:+.4f}) | +0.1025 (" in holm[2]
    assert holm[2].endswith(f"| {twice.p:.3f} |")
    assert (tmp_path / "plot.png").stat().st_size > 10_000


@pytest.mark.slow
def test_variants_are_written_beside_controls_of_their_size(tmp_path: Path) -> None:
    printed = run(sys.executable, SCRIPTS / "focal_variants.py", "data=one.yaml,two.yaml", cwd=tmp_path).stdout
    rows = [line.split(" | ") for line in printed.splitlines() if line.startswith("| ")][2:]
    sizes = {row[0].removeprefix("| "): int(row[1].replace(",", "")) for row in rows}
    ours = sizes["yolov8n-c2focal"]
    controls = [size for name, size in sizes.items() if "control" in name]
    assert len(controls) == 3 and all(abs(size / ours - 1) < 0.03 for size in controls)
    assert "warning" not in printed.lower()
    assert "seeds=3 imgsz=160 name=choose-one" in printed
    assert "models=yolov8n.yaml,BEST,SECOND seed=3 seeds=8 imgsz=160 name=confirm-two" in printed


@pytest.mark.slow
def test_the_commands_that_are_printed_run(tmp_path: Path, checkpoint: Path, of_task: Callable[[str], Path]) -> None:
    few.draw(tmp_path / "set", train=8, val=4)
    (tmp_path / "my.yaml").write_text(few.yaml_of(tmp_path / "set"))
    shutil.copy(of_task("detect"), tmp_path / "yolov8n.pt")
    shutil.copy(checkpoint, tmp_path / "warm.pt")
    printed = run(sys.executable, SCRIPTS / "focal_variants.py", cwd=tmp_path).stdout
    commands = [line for line in printed.splitlines() if " name=starts-" in line]
    short = ("epochs=1", "imgsz=64", "seeds=1", "batch=8", "workers=0", "plots=False")
    modules = str(SCRIPTS / "focal_variants.py")
    models = []
    for command in commands:
        out = run(COMMAND, *shlex.split(command)[1:], *short, cwd=tmp_path, YOLO_FOCAL_MODULES=modules)
        name = command.rsplit("name=", 1)[1]
        results = pl.read_csv(tmp_path / "runs" / "compare" / name / "results.csv")
        assert results["finished"].all(), out.stdout
        models.append(sorted(results["model"]))
    assert models == [
        ["warm", "yolov8n"],
        ["yolov8n", "yolov8n-focal", "yolov8n-identity", "yolov8n-postln", "yolov8n-zero"],
    ]
