"""The scripts behind the evidence: what is compared, what it costs, and what is said of several data sets at once."""

from __future__ import annotations

import sys
from pathlib import Path

import polars as pl
import pytest
from support import REPO, run
from ultralytics import YOLO

from yolo_focal.comparison.stats.paired_t import difference

SCRIPTS = REPO / "scripts" / "experiments" / "focal_variants"


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
    once, twice = difference(a, b), difference(a, b, comparisons=2)
    assert f"| b | {twice.mean:+.4f} ({twice.low:+.4f} to {twice.high:+.4f}) | +0.1025 (" in holm[2]
    assert holm[2].endswith(f"| {twice.p:.3f} |")
    alone = run(*script, "correction=none", cwd=tmp_path).stdout.splitlines()
    assert f"| b | {once.mean:+.4f} ({once.low:+.4f} to {once.high:+.4f}) |" in alone[2]
    assert (tmp_path / "plot.png").stat().st_size > 10_000


@pytest.mark.slow
def test_variants_are_written_beside_controls_of_their_size(tmp_path: Path) -> None:
    writer = (sys.executable, SCRIPTS / "write_variants.py", "dir=variants", "data=my.yaml")
    printed = run(*writer, cwd=tmp_path).stdout
    rows = [line.split(" | ") for line in printed.splitlines() if line.startswith("| ")][2:]
    sizes = {row[0].removeprefix("| "): int(row[2].replace(",", "")) for row in rows}
    ours = sizes["yolov8n-c2focal"]
    controls = [size for name, size in sizes.items() if "control" in name]
    assert len(controls) == 3 and all(abs(size / ours - 1) < 0.03 for size in controls)
    assert "seeds=3 imgsz=192 epochs=12 name=choose-yolov8-my" in printed
    assert "BEST,SECOND seed=3 seeds=8 imgsz=192 epochs=12 name=confirm-my" in printed


@pytest.mark.slow
def test_what_models_cost_is_a_fraction_of_the_first_ones(tmp_path: Path) -> None:
    for name in ("yolov8n", "yolov8n-c2focal"):
        YOLO(f"{name}.yaml").save(tmp_path / f"{name}.pt")
    command = (sys.executable, SCRIPTS / "measure_costs.py", "yolov8n.pt", "yolov8n-c2focal.pt", "imgsz=64")
    printed = run(*command, cwd=tmp_path).stdout
    first, second = (line.split(" | ") for line in printed.splitlines() if line.startswith("| yolov8n"))
    assert (first[0], second[0]) == ("| yolov8n", "| yolov8n-c2focal")
    assert first[3:] == ["1.00", "1.00 |"]
    assert all(float(cell.rstrip(" |")) > 0 for cell in second[3:])
