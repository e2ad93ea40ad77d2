"""The README's commands, word for word, and what they promise."""

from __future__ import annotations

import csv
import inspect
import re
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from detections import PHOTOS, blob, by_engine, by_pytorch
from support import REPO, YOLO, python, run

from yolo_focal import FocalModulation

README = (REPO / "README.md").read_text(encoding="utf-8")
SIZES = (REPO / "docs" / "your-own-data.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```sh\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def test_there_are_two_shell_blocks_of_one_line_each() -> None:
    assert [block.count("\n") for block in BLOCKS] == [1, 1]
    assert BLOCKS[0].startswith("pip install -e . && yolo train model=cfg/yolov8n-focal.yaml data=cfg/shapes.yaml ")
    assert BLOCKS[1] == 'pip install -e ".[test]" && pytest\n'


@pytest.mark.parametrize("name", ["README.md", "README.zh-CN.md"])
def test_the_readme_is_short(name: str) -> None:
    assert len((REPO / name).read_text(encoding="utf-8").splitlines()) <= 110


def test_files_that_the_readme_names_exist() -> None:
    for path in re.findall(r"\]\((?!http)(.+?)\)|`((?:scripts|cfg)/[\w./-]+)`", README):
        assert (REPO / (path[0] or path[1]).partition("#")[0]).is_file()


def test_the_rows_of_the_readme_build(tmp_path: Path) -> None:
    rows = "".join(f"  {line}\n" for line in re.search(r"```yaml\n(.*?)```", README, re.DOTALL)[1].splitlines())
    (tmp_path / "own.yaml").write_text(f"nc: 2\nbackbone:\n  - [-1, 1, Conv, [8, 3, 2]]\n{rows}head: []\n")
    code = "from ultralytics.nn.tasks import parse_model, yaml_model_load as load\nparse_model(load('own.yaml'), 3)"
    assert python(code, tmp_path).count("yolo_focal.focal.FocalModulation") == 3


@pytest.mark.parametrize(("file", "comma"), [("README.md", ", "), ("README.zh-CN.md", "、")])
def test_the_readme_names_the_arguments_in_the_order_of_their_positions(file: str, comma: str) -> None:
    parameters = [*inspect.signature(FocalModulation).parameters.values()][1:]
    order = comma.join(f"`{p.name}`" for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD)
    assert order in " ".join((REPO / file).read_text(encoding="utf-8").split())


@pytest.mark.slow
def test_the_table_of_sizes_counts_the_parameters(tmp_path: Path) -> None:
    code = """
from ultralytics import YOLO
for name in "yolov8{}-focal.yaml", "yolov8{}.yaml":
    print("COUNTS", " | ".join(f"{sum(p.numel() for p in YOLO(name.format(s)).model.parameters()):,}" for s in "nsmlx"))
"""
    counts = [line.split(" ", 1)[1] for line in python(code, tmp_path).splitlines() if line.startswith("COUNTS")]
    assert len(counts) == 2
    assert all(line in SIZES for line in counts)


@pytest.fixture(scope="module")
def quick_start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what the first command needs, in which its training has run."""
    folder = tmp_path_factory.mktemp("clone")
    shutil.copytree(REPO / "cfg", folder / "cfg")
    program, *args = BLOCKS[0].split(" && ")[1].split()
    assert program == "yolo"
    start = time.monotonic()
    run(YOLO, *args, cwd=folder)
    print(f"the quick start trained for {time.monotonic() - start:.0f} s")  # noqa: T201
    return folder / "runs" / "detect" / "train"


@pytest.mark.slow
def test_the_quick_start_reaches_what_the_readme_says(quick_start: Path) -> None:
    with (quick_start / "results.csv").open() as file:
        rows = [{k.strip(): float(v) for k, v in row.items()} for row in csv.DictReader(file)]
    assert rows[0]["metrics/mAP50(B)"] < 0.1
    assert rows[-1]["metrics/mAP50(B)"] > 0.8
    assert {"results.png", "confusion_matrix.png", "labels.jpg", "val_batch0_pred.jpg", "args.yaml"} <= {
        p.name for p in quick_start.iterdir()
    }


@pytest.mark.slow
@pytest.mark.parametrize("dynamic", [False, True])
def test_the_trained_model_exports_to_1e_3_on_photographs(quick_start: Path, dynamic: bool) -> None:
    weights = quick_start / "weights"
    run(YOLO, "export", "model=best.pt", "format=onnx", "imgsz=320", f"dynamic={dynamic}", cwd=weights)
    for photo in PHOTOS:
        image = blob(photo)
        expected = by_pytorch(weights / "best.pt", image, torch.float32)
        for engine in ("ort", "opencv"):
            assert np.abs(by_engine(engine, weights / "best.onnx", image) - expected).max() < 1e-3, engine
