"""The benchmark script: that it runs and what it writes; no timing is asserted."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import pytest
import torch
from conftest import REPO, run

sys.path.insert(0, str(REPO / "scripts"))
import benchmark

SCRIPT = REPO / "scripts" / "benchmark.py"


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


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("part=modul", "part=modul: write one or several of module,memory,model,area,hook"),
        (
            "dim=256",
            "dim=256: write key=value, with a key of part, device, dtype, threads, seconds, dims, sizes, batches",
        ),
        ("dims", "dims: write key=value, with a key of part, device"),
        ("dims=a", "dims=a: write numbers, such as dims=256,512,576,640"),
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
