"""`models=collection`: which models it stands for, and that a comparison takes it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support import COMMAND, run

from yolo_focal import ConfigError
from yolo_focal.comparison.study.packaged_models import expand

OF_YOLOV8N = [
    *(
        "yolov8n-c2focal.yaml",
        "yolov8n-cafm.yaml",
        "yolov8n-dynamicconv.yaml",
        "yolov8n-ema.yaml",
        "yolov8n-focal.yaml",
    ),
    *("yolov8n-msda.yaml", "yolov8n-msfn.yaml", "yolov8n-odconv.yaml", "yolov8n-snake.yaml"),
]


@pytest.mark.parametrize(
    ("names", "expanded"),
    [
        (["collection"], ["yolov8n.yaml", *OF_YOLOV8N]),
        (["yolov8n.yaml", "collection"], ["yolov8n.yaml", *OF_YOLOV8N]),
        (
            ["yolov8s-seg.yaml", "collection"],
            ["yolov8s-seg.yaml", "yolov8s-c2focal-seg.yaml", "yolov8s-focal-seg.yaml"],
        ),
        (
            ["yolo11x.yaml", "collection", "my.yaml"],
            ["yolo11x.yaml", "yolo11x-c2focal.yaml", "yolo11x-focal.yaml", "my.yaml"],
        ),
        (
            ["yolo26n-pose.yaml", "yolo26n-focal-pose.yaml", "collection"],
            ["yolo26n-pose.yaml", "yolo26n-focal-pose.yaml", "yolo26n-c2focal-pose.yaml"],
        ),
        (["a.yaml", "b.pt"], ["a.yaml", "b.pt"]),
    ],
)
def test_what_it_stands_for(names: list[str], expanded: list[str]) -> None:
    assert expand(names) == expanded


@pytest.mark.parametrize("first", ["best.pt", "yolov8.yaml", "yolov5n.yaml", "yolov8n-p7.yaml", "cfg/yolov8n.yaml"])
def test_a_first_model_of_another_kind_is_named(first: str) -> None:
    with pytest.raises(ConfigError) as caught:
        expand([first, "collection"])
    assert str(caught.value) == (
        f"models={first},collection: the first model is not a stock one that the collection has been made from; write "
        "one, such as models=yolov8n.yaml,collection or models=yolo11s-seg.yaml,collection"
    )


@pytest.mark.slow
def test_they_are_compared_with_the_stock_model(tmp_path: Path) -> None:
    small = ("imgsz=64", "batch=8", "fraction=0.1", "plots=False", "epochs=1", "warmup_epochs=0")
    models = "models=yolo11n.yaml,collection"
    run(COMMAND, "compare", "data=shapes.yaml", models, "seeds=1", "parallel=2", *small, cwd=tmp_path)
    folder = tmp_path / "runs" / "compare" / "compare"
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    pairs = [(difference["other"], difference["first"]) for difference in summary["differences"]]
    assert pairs == [("yolo11n-c2focal", "yolo11n"), ("yolo11n-focal", "yolo11n")]
    assert (folder / "report.html").exists()
