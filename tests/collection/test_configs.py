"""The packaged configs of the collection: stock YOLOv8 but for the rows that their heads name."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from support import REPO
from ultralytics import YOLO

from yolo_focal import collection

# Config -> the class and the indices of its rows.
ROWS = {
    "ema": ("EMA", [22, 23, 24]),
    "msda": ("MSDA", [22]),
    "cafm": ("CAFM", [22]),
    "msfn": ("MSFN", [22]),
    "odconv": ("ODConv", [1, 3, 5, 7]),
    "dynamicconv": ("C2fDynamic", [2, 4, 6, 8]),
    "snake": ("C2fSnake", [6, 8]),
}


def layers(name: str) -> list[Any]:
    return list(YOLO(name).model.model)


def check(scale: str, name: str) -> None:
    stock, ours = layers(f"yolov8{scale}.yaml"), layers(f"yolov8{scale}-{name}.yaml")
    cls, rows = ROWS[name]
    assert [layer.i for layer in ours if type(layer) is getattr(collection, cls)] == rows
    for theirs, layer in zip(stock[:-1], ours[:-1], strict=False):
        if layer.i not in rows:
            assert (theirs.f, theirs.type) == (layer.f, layer.type)
            shapes = [{key: value.shape for key, value in part.state_dict().items()} for part in (theirs, layer)]
            assert shapes[0] == shapes[1]
    detect = [model[-1] for model in (stock, ours)]
    assert detect[0].type == detect[1].type and detect[0].stride.tolist() == detect[1].stride.tolist() == [8, 16, 32]
    inputs = [[branch[0].conv.in_channels for branch in head.cv2] for head in detect]
    assert inputs[0] == inputs[1]


def test_there_is_a_config_for_each_of_them() -> None:
    stems = {file.stem for file in (REPO / "cfg").glob("yolov8-*.yaml")}
    packaged = {stem for stem in stems if "focal" not in stem and "timm" not in stem}
    assert packaged == {f"yolov8-{name}" for name in ROWS}


@pytest.mark.parametrize("name", ROWS)
def test_scale_n_is_stock_but_for_its_rows_and_runs(name: str) -> None:
    check("n", name)
    model = YOLO(f"yolov8n-{name}.yaml").model.eval()
    with torch.no_grad():
        assert model(torch.rand(2, 3, 64, 96))[0].shape == (2, 84, 2 * 3 * (1 + 4 + 16))


@pytest.mark.slow
@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("scale", "smlx")
def test_every_other_scale_is_stock_but_for_its_rows(scale: str, name: str) -> None:
    check(scale, name)
