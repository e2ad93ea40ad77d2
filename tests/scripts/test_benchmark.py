"""The benchmark script: that it runs and what it writes; no timing is asserted."""

from __future__ import annotations

import csv
import math
import re
import sys
from pathlib import Path

import benchmark
import measuring
import pytest
import sizes
import torch
from support import REPO, run

from yolo_focal import collection

SCRIPT = REPO / "scripts" / "benchmark.py"


@pytest.mark.slow
def test_a_row_for_each_shape_and_contender(tmp_path: Path) -> None:
    arguments = ["part=module", "dims=8,16", "sizes=6", "batches=1,2", "seconds=0", "save=rows.csv"]
    printed = run(sys.executable, SCRIPT, *arguments, cwd=tmp_path).stdout
    with (tmp_path / "rows.csv").open() as file:
        all_rows = list(csv.DictReader(file))
    means, rows = ([row for row in all_rows if (row["where"] == "geometric mean") == is_mean] for is_mean in (1, 0))
    kinds = [(row["what"], row["where"], row["other"]) for row in rows]
    assert len(set(kinds)) == len(kinds) == 4 * (2 * (3 + 1) + 3)
    assert ("step", "dim 16, 6x6, batch 2", "transformers") in kinds
    for row in rows:
        assert float(row["ours"]) > 0
        assert int(row["rounds"]) == (2 if row["what"] == "memory" else 3)
    assert len(means) == 2 * (3 + 1) + 3
    for row in all_rows:
        assert float(row["low"]) <= float(row["ratio"]) <= float(row["high"])
    assert re.search(r"\| step +\| dim 16, 6x6, batch 2 +\| ms +\|", printed)
    assert re.search(r"\| step +\| geometric mean +\|", printed)


@pytest.mark.slow
def test_rows_of_nets_and_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(measuring, "MIN_ROUNDS", 2)
    monkeypatch.delitem(benchmark.NETS, "base")
    rows = benchmark.main(["part=net,model", "models=yolov8n-focal.yaml", "pixels=32", "seconds=0"])
    assert rows.select("what", "other", "where").rows() == [
        ("net forward", "timm", "FocalNet tiny, 32 pixels, batch 8"),
        ("net forward", "transformers", "FocalNet tiny, 32 pixels, batch 8"),
        ("net step", "timm", "FocalNet tiny, 32 pixels, batch 8"),
        ("net step", "transformers", "FocalNet tiny, 32 pixels, batch 8"),
        ("model, PyTorch", "stock", "yolov8n-focal, 32 pixels"),
        ("model, onnxruntime", "stock", "yolov8n-focal, 32 pixels"),
    ]
    assert all(row["ours"] > 0 and row["low"] <= row["ratio"] <= row["high"] for row in rows.iter_rows(named=True))
    assert [file.name for file in tmp_path.iterdir()] == ["benchmark.csv"]


@pytest.mark.slow
def test_rows_and_a_picture_of_sizes(tmp_path: Path) -> None:
    arguments = ["part=sizes", "models=yolo11n-c2focal.yaml,yolo11n-focal.yaml", "pixels=64,128", "seconds=0"]
    run(sys.executable, SCRIPT, *arguments, cwd=tmp_path)
    with (tmp_path / "benchmark.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["where"] != "geometric mean"]
    assert [(row["what"], row["where"]) for row in rows] == [
        (what, f"{model}, {size} pixels")
        for kind in ("forward", "step", "onnxruntime")
        for size in (64, 128)
        for model in ("yolo11n-c2focal", "yolo11n-focal")
        for what in (f"{kind}, memory", kind)
    ]
    assert all(float(row["ours"]) > 0 and float(row["others"]) > 0 for row in rows)
    run(sys.executable, SCRIPT.with_name("sizes.py"), "benchmark.csv", "sizes.png", cwd=tmp_path)
    assert (tmp_path / "sizes.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("message", "fits"),
    [("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes", False), ("a size is wrong", None)],
)
def test_only_a_lack_of_memory_counts_as_one(message: str, fits: bool | None) -> None:
    def call() -> None:
        raise RuntimeError(message)

    model = torch.nn.Linear(2, 2)
    if fits is None:
        with pytest.raises(RuntimeError, match=message):
            sizes._allocated(measuring.Settings(), model, torch.zeros(1), call)
    else:
        assert sizes._allocated(measuring.Settings(), model, torch.zeros(1), call) == math.inf


def test_every_module_of_the_collection_has_its_rows() -> None:
    rows = [*benchmark.of_collection(benchmark.parse(["dims=16", "sizes=6", "batches=2", "seconds=0"]))]
    assert [row.what for row in rows] == [
        f"{name}, {kind}" for name in benchmark.STANDS_FOR for kind in ("forward", "step", "memory")
    ]
    assert set(benchmark.STANDS_FOR) == set(collection.__all__)
    assert {row.other for row in rows} == {"SPPF", "Conv", "C2f"}


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("part=modul", "part=modul: write some of module,collection,model,sizes,net,hook"),
        ("dim=256", "dim=256: write key=value, with a key of part, device, dtype, seconds, dims, sizes, batches"),
        ("dims", "dims: write key=value, with a key of part, device"),
        ("dims=a", "dims=a: write numbers, such as dims=256"),
        ("dtype=int8", "dtype=int8: write one of float32,bfloat16,float16"),
        ("device=99", "device=99: write one of cpu"),
    ],
)
def test_wrong_arguments_are_named(argument: str, message: str) -> None:
    with pytest.raises(SystemExit) as caught:
        benchmark.parse([argument])
    assert str(caught.value).startswith(message)
