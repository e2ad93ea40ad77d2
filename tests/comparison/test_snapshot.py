"""A training that was killed and goes on ends as if it had not been: bit by bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from ultralytics import YOLO

from yolo_focal.comparison.snapshot import Snapshots

EPOCHS = 5
SMALL = {"data": "shapes.yaml", "imgsz": 64, "batch": 8, "fraction": 0.1, "plots": False, "epochs": EPOCHS}


class Killed(Exception):  # noqa: N818  stands for what ends a process
    pass


def train(
    folder: Path, model: str, seed: int = 0, dies_in: int | None = None, loaders: int = 0, **arguments: Any
) -> Any:
    """Train with snapshots and return the model; where `dies_in` is an epoch, stop in the middle of it."""
    yolo = YOLO(model)

    def end(trainer: Any) -> None:
        if trainer.epoch == dies_in:
            raise Killed

    def set_loaders(trainer: Any) -> None:
        trainer.args.workers = loaders  # on the CPU Ultralytics takes none

    snapshots = Snapshots(folder / "snapshots", seed)
    snapshots.attach(yolo)
    yolo.add_callback("on_pretrain_routine_start", set_loaders)
    yolo.add_callback("on_train_batch_end", end)
    yolo.train(project=str(folder), name="train", exist_ok=True, seed=seed, **SMALL, **arguments)
    snapshots.remove()
    return yolo


def result(folder: Path) -> tuple[list[list[str]], dict[str, Any]]:
    """Return the curve without the times, and the weights in the end."""
    lines = (folder / "train" / "results.csv").read_text(encoding="utf-8").splitlines()
    weights = torch.load(folder / "train" / "weights" / "last.pt", weights_only=False)
    return [line.split(",")[:1] + line.split(",")[2:] for line in lines], weights["model"].state_dict()


CASES: list[tuple[str, dict[str, Any]]] = [
    # A step is taken after 8 batches, and an epoch has 6.
    ("yolov8n-focal.yaml", {"warmup_epochs": 0, "close_mosaic": 2}),
    ("yolov8n.yaml", {"warmup_epochs": 1, "optimizer": "SGD", "nbs": 8, "multi_scale": 0.5, "loaders": 2}),
    ("yolo26n-focal.yaml", {"warmup_epochs": 1, "optimizer": "AdamW", "cache": "ram"}),
    ("yolov8n-focal-cls.yaml", {"warmup_epochs": 1, "data": "shapes-cls", "dropout": 0.2}),
]


@pytest.mark.parametrize(("model", "arguments"), CASES[:1])
def test_it_ends_as_if_it_had_not_been_killed(model: str, arguments: dict[str, Any], tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    train(whole, model, **arguments)
    for dies_in in (2, 4, 4):  # the third time before anything new was kept
        with pytest.raises(Killed):
            train(cut, model, dies_in=dies_in, **arguments)
        assert [path.name for path in (cut / "snapshots").iterdir()] == [f"epoch-{dies_in - 1}"]
    train(cut, model, **arguments)
    curves, weights = zip(result(whole), result(cut))
    assert len(curves[0]) == 1 + EPOCHS
    assert curves[0] == curves[1]
    assert weights[0].keys() == weights[1].keys()
    for name, value in weights[0].items():
        assert torch.equal(value, weights[1][name]), name
    assert not (cut / "snapshots").exists()


@pytest.mark.slow
@pytest.mark.parametrize(("model", "arguments"), CASES[1:])
def test_it_does_so_for_other_models_and_arguments(
    model: str, arguments: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if arguments.get("data") == "shapes-cls":
        from yolo_focal.shapes import draw

        draw(str(tmp_path / "shapes-cls"), "classify")
        monkeypatch.chdir(tmp_path)
        monkeypatch.setitem(SMALL, "data", str(tmp_path / "shapes-cls"))
        arguments = {key: value for key, value in arguments.items() if key != "data"}
    test_it_ends_as_if_it_had_not_been_killed(model, arguments, tmp_path)


def test_what_is_half_written_is_not_taken(tmp_path: Path) -> None:
    with pytest.raises(Killed):
        train(tmp_path, "yolov8n-focal.yaml", dies_in=2, warmup_epochs=0)
    (tmp_path / "snapshots" / "epoch-1").rename(tmp_path / "snapshots" / "unfinished")
    train(tmp_path, "yolov8n-focal.yaml", warmup_epochs=0)
    train(tmp_path / "whole", "yolov8n-focal.yaml", warmup_epochs=0)
    assert result(tmp_path)[0] == result(tmp_path / "whole")[0]


def test_in_the_warm_up_nothing_is_kept(tmp_path: Path) -> None:
    with pytest.raises(Killed):
        train(tmp_path, "yolov8n-focal.yaml", dies_in=2, warmup_epochs=3)
    assert not (tmp_path / "snapshots").exists()
