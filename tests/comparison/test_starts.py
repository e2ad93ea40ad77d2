"""What models start from: in a comparison all are loaded alike, and what each has taken over is known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import few
import pytest
import torch
import ultralytics
import yaml
from support import python
from torch import nn

from yolo_focal.comparison.stats import starts
from yolo_focal.comparison.stats.starts import Start
from yolo_focal.hook import alignment, configs

SPPF, FOCAL = 12, 8  # their tensors


@pytest.fixture(scope="module")
def weights() -> nn.Module:
    return ultralytics.YOLO("yolov8n.yaml", verbose=False).model


def inserted(folder: Path) -> str:
    """Write YOLOv8 with a stock module where yolov8n-c2focal has its own."""
    config = yaml.safe_load((configs.folder() / "yolov8-c2focal.yaml").read_text(encoding="utf-8"))
    config["backbone"][10] = [-1, 3, "C2f", [1024, True]]
    (folder / "yolov8n-inserted.yaml").write_text(yaml.safe_dump(config))
    return str(folder / "yolov8n-inserted.yaml")


def started(config: str, weights: nn.Module) -> tuple[int, dict[str, list[int]]]:
    """Return how many tensors a model has taken over, by their values and by what is known of them."""
    model = ultralytics.YOLO(config, verbose=False).model
    before = {name: torch.full_like(tensor, 7) for name, tensor in model.state_dict().items()}
    model.load_state_dict(before)
    model.load(weights, verbose=False)
    return sum(not tensor.eq(7).all() for tensor in model.state_dict().values()), starts.of(model)


@pytest.mark.parametrize(
    ("stock", "own", "taken"),
    [
        ("yolov8n.yaml", "yolov8n-focal.yaml", (355, 355 - SPPF)),
        ("yolov8n-p2.yaml", "yolov8n-focal-p2.yaml", (349, 349 - SPPF)),
        ("yolov8n-p6.yaml", "yolov8n-focal-p6.yaml", (346, 346 - SPPF)),
        ("inserted", "yolov8n-c2focal.yaml", (355, 355)),
    ],
)
def test_in_a_comparison_a_stock_model_takes_over_as_much_as_one_with_a_registered_module(
    stock: str, own: str, taken: tuple[int, int], weights: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stock = inserted(tmp_path) if stock == "inserted" else stock
    monkeypatch.setattr(alignment, "_in_every_model", True)
    first, other = started(stock, weights), started(own, weights)
    assert (first[0], other[0]) == taken
    assert tuple(sum(map(sum, known.values())) for _, known in (first, other)) == taken
    assert starts.difference(first[1], other[1]) is None


def test_a_model_that_is_loaded_as_ultralytics_does_is_told_from_one_that_is_not(weights: nn.Module) -> None:
    (count, stock), (_, own) = started("yolov8n-p6.yaml", weights), started("yolov8n-focal-p6.yaml", weights)
    assert count == 125
    found = starts.difference(stock, own)
    assert found is not None and found.first < found.other <= found.tensors
    untouched = starts.of(ultralytics.YOLO("yolov8n-p6.yaml", verbose=False).model)
    assert starts.difference(untouched, own) == Start(found.tensors, 0, found.other)
    assert starts.difference(untouched, untouched) is None


TRAIN = """
import dataclasses, json, sys
from pathlib import Path
from yolo_focal.comparison.study import train_arguments
from yolo_focal.comparison.worker import train
from yolo_focal.comparison.store.run_folder import METRICS, RunSpec
given = {"epochs": 1, "imgsz": 32, "batch": 2, "plots": False, "workers": 0, "device": "cpu"}
every = {**train_arguments.check(given), "pretrained": str(Path("weights.pt").absolute())}
works = []
for model in ("yolov8n-p6.yaml", "yolov8n-focal-p6.yaml"):
    folder = Path("runs", model).absolute()
    folder.mkdir(parents=True)
    task = RunSpec(
        model=model,
        data="few.yaml",
        seed=0,
        arguments=every,
        threads=1,
        last_epochs=1,
        test=False,
        snapshot_every=0,
        metric=METRICS["detect"],
        ablations=[],
        place="",
        fingerprint="0",
    )
    works.append(dataclasses.asdict(train.train(folder, task).work))
Path("works.json").write_text(json.dumps(works))
"""


@pytest.mark.slow
def test_what_the_process_of_a_run_says_of_its_start(weights: nn.Module, tmp_path: Path) -> None:
    few.draw(tmp_path / "set", train=2, val=2)
    (tmp_path / "few.yaml").write_text(few.yaml_of(tmp_path / "set"))
    torch.save({"model": weights, "train_args": {}}, tmp_path / "weights.pt")
    python(TRAIN, tmp_path)
    stock, own = json.loads((tmp_path / "works.json").read_text())
    assert stock["transferred"][0] - own["transferred"][0] == SPPF
    assert stock["transferred"][1] - own["transferred"][1] == SPPF - FOCAL
    assert starts.difference(stock["layers"], own["layers"]) is None
    counts: list[Any] = [sum(map(sum, work["layers"].values())) for work in (stock, own)]
    assert counts == [work["transferred"][0] for work in (stock, own)]
