"""The script of what only a GPU can show, on the CPU at small sizes."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import few
import pytest
from support import REPO, run

SCRIPT = (sys.executable, REPO / "scripts" / "experiments" / "gpu.py")


@pytest.mark.slow
def test_one_table_has_tests_costs_and_a_comparison(tmp_path: Path) -> None:
    few.draw(tmp_path / "set", train=8, val=4)
    (tmp_path / "my.yaml").write_text(few.yaml_of(tmp_path / "set"))
    given = (*SCRIPT, "device=cpu", "data=my.yaml")
    run(*given, cwd=tmp_path)
    table = (tmp_path / "gpu-results" / "gpu.md").read_text().splitlines()
    rows = [row.strip("| ").split(" | ") for row in table]
    assert all(len(row) == 3 for row in rows)
    assert rows[0] == ["what", "how", "result"]
    results = {(what, how): result for what, how, result in rows[2:]}
    assert [what for what, _ in results][:2] == ["machine", "tests"]
    assert re.match(r"\d+ passed, \d+ deselected", results["tests", "pytest -m not gpu and not slow -k norm"])
    eager = "float16, contiguous, eager"
    for what in ("forward", "step", "memory"):
        assert results[what, eager].startswith("ratio to timm ")
        assert "SPPF" in results[what, eager]
    assert results["model, PyTorch", eager].startswith("ratio to stock ")
    assert "yolov8n-focal" in results["compare", "my.yaml"]
    again = run(*given, cwd=tmp_path).stdout
    assert "running" not in again and again.rstrip().endswith("\n".join(table))


@pytest.mark.slow
def test_a_step_that_fails_is_a_line_and_does_not_stop_the_others(tmp_path: Path) -> None:
    for done in ("tests", "float16-contiguous-eager"):
        (tmp_path / f"{done}.txt").write_text(f"| {done} | | measured |\n")
    failing = run(*SCRIPT, "device=cpu", "data=nothing.yaml", "out=.", cwd=tmp_path, check=False)
    assert failing.returncode == 1
    assert "| compare |  | failed: exit status 1, see compare.log |" in failing.stdout
    assert "| tests | | measured |" in failing.stdout
    assert "nothing.yaml" in (tmp_path / "compare.log").read_text()


def test_a_missing_gpu_is_named(tmp_path: Path) -> None:
    done = run(*SCRIPT, "device=99", cwd=tmp_path, check=False)
    assert done.returncode == 1
    expected = "device=99: there is no such GPU; write device=cpu to try this at small sizes"
    assert done.stdout.splitlines()[-1] == expected
    assert list(tmp_path.iterdir()) == []
