"""`freeze=` of `yolo train`: layers that start fresh are not to be frozen, and the message says what to write."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import few
import pytest
import ultralytics
from ultralytics.utils import LOGGER

INSERTED = """
backbone:
  - [-1, 1, Conv, [64, 3, 2]]
  - [-1, 1, Conv, [128, 3, 2]]
  - [-1, 1, FocalModulation, []]
  - [-1, 3, C2f, [128, True]]
head:
  - [[3], 1, Detect, [nc]]
"""
PLAIN = INSERTED.replace("  - [-1, 1, FocalModulation, []]\n", "").replace("[3]", "[2]")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of a few images."""
    folder = tmp_path_factory.mktemp("data")
    few.draw(folder, train=4, val=2)
    (folder / "few.yaml").write_text(few.yaml_of(folder))
    return folder / "few.yaml"


def warnings_of(weights: str, config: str, freeze: Any, data: Path) -> list[str]:
    """Return what is warned of where Ultralytics' trainer has frozen what it was told to, before it trains."""
    model = ultralytics.YOLO(config, verbose=False)
    own = {"model": config, "data": str(data), "freeze": freeze, "project": str(data.parent), "plots": False}
    trainer = model._smart_load("trainer")(overrides={**own, "workers": 0, "imgsz": 32, "batch": 2})
    trainer.model = trainer.get_model(cfg=model.model.yaml, weights=ultralytics.YOLO(weights, verbose=False).model)
    records: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: records.append(record.getMessage())  # type: ignore[method-assign]
    LOGGER.addHandler(handler)
    try:
        trainer._setup_train()
    finally:
        LOGGER.removeHandler(handler)
    return [line[line.index("yolo-focal") :] for line in records if "yolo-focal" in line]


@pytest.mark.parametrize(
    ("config", "freeze", "named", "advice"),
    [
        ("yolov8n-focal.yaml", 10, "9 (FocalModulation)", "write freeze=9"),
        ("yolov8n-focal.yaml", [2, 9], "9 (FocalModulation)", "write freeze=[2]"),
        ("yolov8n-focal.yaml", [9], "9 (FocalModulation)", "leave it out"),
        ("yolov8n-c2focal.yaml", 11, "10 (C2Focal)", "write freeze=10"),
        ("yolov8n-odconv.yaml", 5, "1 (ODConv), 3 (ODConv)", "write freeze=[0,2,4]"),
        ("inserted.yaml", 3, "2 (FocalModulation)", "write freeze=[0,1,3]"),
        ("yolov8n-focal.yaml", 9, "", ""),
        ("yolov8n-focal.yaml", None, "", ""),
        ("yolov8n-c2focal.yaml", 10, "", ""),
    ],
)
def test_frozen_layers_that_start_fresh_are_named_with_what_to_write(
    config: str, freeze: Any, named: str, advice: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("inserted.yaml").write_text(f"nc: 4{INSERTED}")
    Path("plain.yaml").write_text(f"nc: 4{PLAIN}")
    weights = "plain.yaml" if config == "inserted.yaml" else "yolov8n.yaml"
    given = str(freeze).replace(" ", "")
    said = (
        f"yolo-focal: freeze={given} freezes layers that the weights do not have, or not as a whole: {named}. They "
        f"would stay as random as they are: {advice}"
    )
    assert warnings_of(weights, config, freeze, data) == ([said] if named else [])
