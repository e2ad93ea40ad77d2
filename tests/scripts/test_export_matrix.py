"""The export matrix: whether each format ran, or what failed, and whether the stock model fails as well."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support import REPO, run

SCRIPT = REPO / "scripts" / "export_matrix.py"


@pytest.fixture(scope="module")
def matrix() -> Any:
    spec = importlib.util.spec_from_file_location("export_matrix", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


RAN = {"difference": 1.2e-5, "mAP": -0.0004, "MB": 13.46}


@pytest.mark.parametrize(
    ("outcome", "cells"),
    [
        (
            {**RAN, "stock difference": 2e-6, "stock mAP": 0.0, "stock MB": 13.1, "time": [0.98, 1.004, 1.02]},
            ["yes", "1.2e-05, 2.0e-06", "-0.000, +0.000", "1.00 (0.98 to 1.02)", "13.5"],
        ),
        (
            {**RAN, "difference": None, "stock error": "not exported: it needs the package ncnn"},
            ["yes; the stock model is not exported: it needs the package ncnn", "", "-0.000", "", "13.5"],
        ),
        (
            dict.fromkeys(("error", "stock error"), "not exported: it needs the package ncnn"),
            ["not exported: it needs the package ncnn; the stock model alike", "", "", "", ""],
        ),
        (
            {"error": "not exported: OSError: a", "stock error": "exported, but does not run here: OSError: b"},
            [
                "not exported: OSError: a; the stock model is exported, but does not run here: OSError: b",
                *("", "", "", ""),
            ],
        ),
        (
            {"error": "exported, but does not run here: OSError: a | b", "stock mAP": 0.0},
            ["exported, but does not run here: OSError: a | b; the stock model **runs**", "", "", "", ""],
        ),
    ],
)
def test_the_cells_of_a_row(matrix: Any, outcome: dict[str, Any], cells: list[str]) -> None:
    assert matrix.cells(outcome) == cells


def task(tmp_path: Path, **files: str) -> dict[str, Any]:
    return {"data": "shapes.yaml", **{key: str(tmp_path / name) for key, name in files.items()}}


@pytest.mark.parametrize(
    ("stock", "expected"),
    [
        ("dies", {"error": "the process ended with 3", "stock error": "the process ended with 3"}),
        ("fails", {"error": "the process ended with 3", "stock error": "not exported: OSError: a"}),
        ("runs", {"error": "the process ended with 3"}),
    ],
)
def test_a_process_that_dies_is_blamed_on_the_focal_model_where_the_stock_model_alone_lives(
    matrix: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, stock: str, expected: dict[str, str]
) -> None:
    script = tmp_path / "script.py"
    script.write_text("""
import json, pathlib, sys
name = pathlib.Path(json.loads(sys.argv[1].partition("=")[2])["model"]).name
if name in ("focal", "dies"):
    sys.exit(3)
outcome = {"error": "not exported: OSError: a"} if name == "fails" else {"mAP": 0}
pathlib.Path("outcome.json").write_text(json.dumps(outcome))
""")
    monkeypatch.setattr(matrix, "__file__", str(script))
    assert matrix.try_both(task(tmp_path, model="focal", twin=stock)) == expected


def test_a_process_that_takes_too_long_is_ended(matrix: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("import time; time.sleep(60)")
    monkeypatch.setattr(matrix, "__file__", str(script))
    monkeypatch.setattr(matrix, "MINUTES", 0.005)
    outcome = matrix.try_both(task(tmp_path, model="focal", twin="stock"))
    assert outcome == dict.fromkeys(("error", "stock error"), "not done after 0.005 minutes")


def test_a_format_offers_the_variants_that_ultralytics_lists(matrix: Any) -> None:
    names = [name for name, _ in matrix.variants_of("onnx", ["batch", "data", "dynamic", "quantize", "nms"], "my.yaml")]
    assert names[:6] == ["static", "dynamic", "batch 4", "half", "int8", "nms"]
    assert (names[6], names[-1]) == ("opset 12", "opset 20")
    assert dict(matrix.variants_of("executorch", ["batch"], "my.yaml")) == {"static": {}, "batch 4": {"batch": 4}}
    quantized = dict(matrix.variants_of("imx", ["data", "quantize", "nms"], "my.yaml"))
    assert [*quantized] == ["int8", "nms"] and all(options["data"] == "my.yaml" for options in quantized.values())
    assert dict(matrix.variants_of("openvino", ["data"], "my.yaml"))["int8"] == {"quantize": 8, "data": "my.yaml"}


def test_a_cell_does_not_break_the_table(matrix: Any) -> None:
    assert matrix.row(["ONNX", "a | b", 1]) == "| ONNX | a / b | 1 |"


def test_a_missing_checkpoint_is_named(tmp_path: Path) -> None:
    done = run(sys.executable, SCRIPT, "model=none.pt", "twin=none.pt", "data=shapes.yaml", cwd=tmp_path, check=False)
    message = "model=none.pt: there is no such file; write a trained checkpoint, such as best.pt"
    assert (done.returncode, done.stdout.splitlines()[-1]) == (1, message)


def test_an_unknown_format_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.pt").touch()
    args = ("model=a.pt", "twin=a.pt", "data=shapes.yaml", "formats=onnx,onyx")
    done = run(sys.executable, SCRIPT, *args, cwd=tmp_path, check=False)
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1].startswith("formats=onnx,onyx: there is no format onyx; write some of torchscr")


@pytest.mark.slow
def test_a_trained_pair(checkpoint: Path, of_task: Callable[[str], Path], tmp_path: Path) -> None:
    # `coremltools` is not among the packages of the tests.
    out = run(
        *(sys.executable, SCRIPT, f"model={checkpoint}", f"twin={of_task('detect')}"),
        *("data=shapes.yaml", "formats=torchscript,onnx,coreml", "variants=static,half,dynamic"),
        *("imgsz=64", "rounds=4"),
        cwd=tmp_path,
    ).stdout
    matches = re.findall(r"\| (\w+) \| ([\w ]*) \| (.*) \|$", out, re.MULTILINE)
    rows = {(name, variant): cells.split(" | ") for name, variant, cells in matches}
    for name in ("TorchScript", "ONNX"):
        for variant in ("static", "dynamic"):
            ran, *values = rows[name, variant]
            assert ran == "yes" and all(values)
            assert all(float(difference) < 1e-4 for difference in values[0].split(", "))
            assert values[1] == "+0.000, +0.000"
    assert rows["ONNX", "half"][0] == "yes"
    assert rows["TorchScript", "half"][0].endswith("; the stock model alike")
    assert rows["CoreML", "static"][0] == "not exported: it needs the package coremltools; the stock model alike"
