"""What the export matrix says of each format: that it ran, or what failed, and whether the stock model fails alike."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import REPO, YOLO, run

SCRIPT = REPO / "scripts" / "export_matrix.py"


@pytest.fixture(scope="module")
def matrix() -> Any:
    spec = importlib.util.spec_from_file_location("export_matrix", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


RAN = {"apart": 1.2e-5, "mAP": -0.0004, "MB": 13.46}


@pytest.mark.parametrize(
    ("found", "cells"),
    [
        (
            {**RAN, "stock apart": 2e-6, "stock mAP": 0.0, "stock MB": 13.1, "time": [0.98, 1.004, 1.02]},
            ["yes", "1.2e-05, 2.0e-06", "-0.000, +0.000", "1.00 (0.98 to 1.02)", "13.5"],
        ),
        (
            {**RAN, "apart": None, "stock error": "not exported: it needs the package ncnn"},
            ["yes; the stock model is not exported: it needs the package ncnn", "", "-0.000", "", "13.5"],
        ),
        (
            {"error": "not exported: it needs the package ncnn", "stock error": "the same"},
            ["not exported: it needs the package ncnn; the stock model alike", "", "", "", ""],
        ),
        (
            {"error": "exported, but does not run here: OSError: a | b", "stock mAP": 0.0},
            ["exported, but does not run here: OSError: a | b; **the stock model runs**", "", "", "", ""],
        ),
    ],
)
def test_what_a_row_says(matrix: Any, found: dict[str, Any], cells: list[str]) -> None:
    assert matrix.cells(found) == cells


def test_a_cell_does_not_break_the_table(matrix: Any) -> None:
    assert matrix.row(["ONNX", "a | b", 1]) == "| ONNX | a / b | 1 |"


def test_a_missing_checkpoint_is_named(tmp_path: Path) -> None:
    done = run(sys.executable, SCRIPT, "model=none.pt", "twin=none.pt", "data=shapes.yaml", cwd=tmp_path, check=False)
    wanted = "model=none.pt: there is no such file; write a trained checkpoint, such as best.pt"
    assert (done.returncode, done.stdout.splitlines()[-1]) == (1, wanted)


@pytest.mark.slow
def test_a_trained_pair(tmp_path: Path) -> None:
    small = ("data=shapes.yaml", "imgsz=64", "epochs=1", "batch=8", "fraction=0.1", "workers=0", "plots=False")
    for name in ("yolov8n-focal", "yolov8n"):
        run(YOLO, "train", f"model={name}.yaml", *small, f"project={tmp_path}", f"name={name}", cwd=tmp_path)
    # `coremltools` is what nobody installs for the tests.
    out = run(
        *(sys.executable, SCRIPT, "model=yolov8n-focal/weights/best.pt", "twin=yolov8n/weights/best.pt"),
        *("data=shapes.yaml", "formats=torchscript,coreml", "imgsz=64"),
        cwd=tmp_path,
    ).stdout
    # The progress bar stands before some rows.
    found = re.findall(r"\| (\w+) \| ([\w ]*) \| (.*) \|$", out, re.MULTILINE)
    rows = {(name, variant): cells.split(" | ") for name, variant, cells in found}
    ran, *numbers = rows["TorchScript", ""]
    assert ran == "yes" and all(numbers)
    assert all(float(one) < 1e-4 for one in numbers[0].split(", "))
    assert numbers[1] == "+0.000, +0.000"
    assert rows["TorchScript", "half"][0].endswith("; the stock model alike")
    assert rows["CoreML", ""][0] == "not exported: it needs the package coremltools; the stock model alike"
