"""The benchmark script: that it runs and what it writes; no timing is asserted."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import benchmark
import pytest
import torch
from support import REPO, run

from yolo_focal import collection

SCRIPT = REPO / "scripts" / "benchmark.py"


@pytest.mark.slow
def test_a_row_for_each_shape_and_contender(tmp_path: Path) -> None:
    arguments = ["part=module,memory", "dims=8,16", "sizes=6", "batches=1,2", "seconds=0", "save=rows.csv"]
    printed = run(sys.executable, SCRIPT, *arguments, cwd=tmp_path).stdout
    with (tmp_path / "rows.csv").open() as file:
        rows = list(csv.DictReader(file))
    kinds = [(row["what"], row["where"], row["other"]) for row in rows]
    assert len(set(kinds)) == len(kinds) == 4 * (2 * (3 + 2) + 3)
    assert ("step", "dim 16, 6x6, batch 2", "transformers") in kinds
    for row in rows:
        assert float(row["ours"]) > 0
        assert float(row["low"]) <= float(row["ratio"]) <= float(row["high"])
        assert int(row["rounds"]) == (1 if row["what"] == "memory" else 3)
    assert "| step | timm |" in printed
    assert "| step | dim 16, 6x6, batch 2 |" in printed


@pytest.mark.slow
def test_a_row_for_each_net_and_contender(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "MIN_ROUNDS", 2)
    settings = benchmark.parse(["part=net", "nets=tiny", "pixels=32", "seconds=0", "threads=1"])
    rows = [row for job in benchmark.net_jobs(settings) for row in job()]
    assert [(row.what, row.other) for row in rows] == [
        ("net forward", "timm"),
        ("net forward", "transformers"),
        ("net step", "timm"),
        ("net step", "transformers"),
    ]
    assert {row.where for row in rows} == {"FocalNet tiny, 32 pixels, batch 8"}
    assert all(row.ours > 0 and row.low <= row.ratio <= row.high for row in rows)


def test_every_module_of_the_collection_has_its_rows() -> None:
    settings = benchmark.Settings(seconds=0)
    rows = benchmark.measure_collection(settings, 16, 6, 2)
    assert [row.what for row in rows] == [
        f"{name}, {kind}" for name in benchmark.STANDS_FOR for kind in ("forward", "step", "memory")
    ]
    assert set(benchmark.STANDS_FOR) == set(collection.__all__)
    assert {row.other for row in rows} == {"SPPF", "Conv", "C2f"}


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("part=modul", "part=modul: write one or several of module,memory,collection,model,backbone,area,net,hook"),
        (
            "dim=256",
            "dim=256: write key=value, with a key of part, device, dtype, threads, seconds, dims, sizes, batches",
        ),
        ("dims", "dims: write key=value, with a key of part, device"),
        ("dims=a", "dims=a: write numbers, such as dims=256,512,576,640"),
        ("nets=huge", "nets=huge: write one or several of tiny,small,base"),
        ("dtype=int8", "dtype=int8: write float32, bfloat16 or float16"),
        pytest.param(
            "device=cuda",
            "device=cuda: this machine has no CUDA device; write device=cpu",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device"),
        ),
    ],
)
def test_wrong_arguments_are_named(argument: str, message: str) -> None:
    with pytest.raises(SystemExit) as caught:
        benchmark.parse([argument])
    assert str(caught.value).startswith(message)
