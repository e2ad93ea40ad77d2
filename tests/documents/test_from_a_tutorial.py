"""The snippets of docs/from-a-tutorial.md, read out of the document, built and run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from pages import links, text
from support import REPO, YOLO, python, run

PAGES = [REPO / "docs" / name for name in ("from-a-tutorial.md", "from-a-tutorial.zh-CN.md")]


def shapes(page: Path) -> dict[str, tuple[str, Any]]:
    """Return the sections of the seven shapes: number -> what the Python file and the YAML file hold."""
    sections = re.findall(r"^### (\d) .+?$(.*?)(?=^##)", text(page), re.MULTILINE | re.DOTALL)
    return {number: (block("python", body), yaml.safe_load(block("yaml", body))) for number, body in sections}


def block(language: str, body: str) -> str:
    (found,) = re.findall(rf"^```{language}\n(.*?)^```", body, re.MULTILINE | re.DOTALL)
    return str(found)


SHAPES = shapes(PAGES[0])
BUILD = """
import torch
from ultralytics import YOLO
for number in {numbers!r}:
    model = YOLO(f"tiny{{number}}.yaml").model
    model(torch.rand(2, 3, 64, 64))
    print("BUILT", number, *[type(layer).__name__ for layer in model.model], *model.stride.tolist())
"""
STRIDES = {"1": "2.0 4.0", "7": "4.0 8.0"}  # of the detection layers; the others' are 2.0 2.0


def write(folder: Path, number: str) -> list[str]:
    """Write a shape's files, and return the names of the classes that its YAML file names."""
    code, rows = SHAPES[number]
    convs = [[-1, 1, "Conv", [16, 3, 2]], [-1, 1, "Conv", [24, 3, 1]]]
    head = [[[1, -1], 1, "Detect", ["nc"]]]
    config = {"nc": 3, "scales": {"n": [0.5, 0.5, 1024]}, "backbone": convs, "head": head}
    config.update(rows if isinstance(rows, dict) else {"backbone": convs + rows})
    (folder / f"tiny{number}.yaml").write_text(yaml.safe_dump(config))
    (folder / f"my_blocks{number}.py").write_text(code)
    return [str(row[2]) for row in config["backbone"] + config["head"]]


def test_there_are_seven_shapes() -> None:
    assert list(SHAPES) == list("1234567")


def test_every_shape_builds_and_runs(tmp_path: Path) -> None:
    names = {number: write(tmp_path, number) for number in SHAPES}
    files = ",".join(f"my_blocks{number}.py" for number in SHAPES)
    out = python(BUILD.format(numbers=list(SHAPES)), tmp_path, YOLO_FOCAL_MODULES=files)
    for number, classes in names.items():
        assert f"BUILT {number} {' '.join(classes)} {STRIDES.get(number, '2.0 2.0')}\n" in out


@pytest.mark.slow
@pytest.mark.parametrize("number", ["5", "7"])
def test_heads_and_backbones_train_and_export(number: str, tmp_path: Path) -> None:
    write(tmp_path, number)
    env = {"YOLO_FOCAL_MODULES": f"my_blocks{number}.py"}
    small = ("data=shapes.yaml", "imgsz=64", "batch=8", "fraction=0.1", "workers=0", "plots=False")
    run(YOLO, "train", f"model=tiny{number}.yaml", *small, "epochs=1", cwd=tmp_path, **env)
    weights = "runs/detect/train/weights/best.pt"
    run(YOLO, "val", f"model={weights}", *small[:2], "workers=0", cwd=tmp_path, **{**env, "ULTRALYTICS_SAFE_LOAD": "1"})
    assert "export success" in run(YOLO, "export", f"model={weights}", "format=onnx", cwd=tmp_path, **env).stdout


def test_the_table_links_to_every_shape() -> None:
    for page in PAGES:
        assert len([link for link in links(page) if link.startswith("#")]) == 7
