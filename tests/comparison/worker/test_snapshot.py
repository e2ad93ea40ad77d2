"""An interrupted and resumed training ends with exactly the weights of an uninterrupted one."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from ultralytics import YOLO

from yolo_focal.comparison.worker.accumulation import Stepping
from yolo_focal.comparison.worker.resume import Snapshots

EPOCHS = 5
SMALL = {"data": "shapes.yaml", "imgsz": 64, "batch": 8, "fraction": 0.1, "plots": False, "epochs": EPOCHS}


class Killed(Exception):  # noqa: N818  raised in the place of a killed process
    pass


def train(
    folder: Path, model: str, seed: int = 0, dies_in: int | None = None, loaders: int = 0, **arguments: Any
) -> Any:
    """Train with snapshots and return the model; stop in the middle of the epoch `dies_in`."""
    yolo = YOLO(model)

    def end(trainer: Any) -> None:
        if trainer.epoch == dies_in:
            raise Killed

    def set_loaders(trainer: Any) -> None:
        trainer.args.workers = loaders  # on the CPU Ultralytics sets it to 0

    snapshots = Snapshots(folder / "snapshots", seed)
    snapshots.attach(yolo)
    yolo.add_callback("on_pretrain_routine_start", set_loaders)
    yolo.add_callback("on_train_batch_end", end)
    yolo.train(project=str(folder), name="train", exist_ok=True, seed=seed, **SMALL, **arguments)
    snapshots.remove()
    return yolo


def result(folder: Path) -> tuple[list[list[str]], dict[str, Any]]:
    """Return the rows of `results.csv` without the times, and the final weights."""
    lines = (folder / "train" / "results.csv").read_text(encoding="utf-8").splitlines()
    weights = torch.load(folder / "train" / "weights" / "last.pt", weights_only=False)
    return [line.split(",")[:1] + line.split(",")[2:] for line in lines], weights["model"].state_dict()


CASES: list[tuple[str, dict[str, Any]]] = [
    # A step is taken after 8 batches, and an epoch has 6; all epochs of the first case are warm-up.
    ("yolov8n-focal.yaml", {"warmup_epochs": 3, "close_mosaic": 2}),
    ("yolov8n-focal.yaml", {"warmup_epochs": 0, "close_mosaic": 2}),
    ("yolov8n.yaml", {"warmup_epochs": 1, "optimizer": "SGD", "nbs": 8, "multi_scale": 0.5, "loaders": 2}),
    ("yolo26n-focal.yaml", {"warmup_epochs": 1, "optimizer": "AdamW", "cache": "ram"}),
    ("yolov8n-focal-cls.yaml", {"warmup_epochs": 1, "data": "shapes-cls", "dropout": 0.2}),
]


@pytest.mark.slow
@pytest.mark.parametrize(("model", "arguments"), CASES[:1])
def test_it_ends_as_if_it_had_not_been_killed(model: str, arguments: dict[str, Any], tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    train(whole, model, **arguments)
    for dies_in in (2, 4, 4):  # the third time before another snapshot
        with pytest.raises(Killed):
            train(cut, model, dies_in=dies_in, **arguments)
        assert [path.name for path in (cut / "snapshots").iterdir()] == [f"epoch-{dies_in - 1}"]
    train(cut, model, **arguments)
    curves, weights = zip(result(whole), result(cut), strict=True)
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


@pytest.mark.slow
def test_what_is_half_written_is_not_taken(tmp_path: Path) -> None:
    with pytest.raises(Killed):
        train(tmp_path, "yolov8n-focal.yaml", dies_in=2, warmup_epochs=0)
    (tmp_path / "snapshots" / "epoch-1").rename(tmp_path / "snapshots" / "unfinished")
    train(tmp_path, "yolov8n-focal.yaml", warmup_epochs=0)
    train(tmp_path / "whole", "yolov8n-focal.yaml", warmup_epochs=0)
    assert result(tmp_path)[0] == result(tmp_path / "whole")[0]


@pytest.mark.parametrize("name", ["state.pt", "manifest.json", "results.csv", "best.pt", "last.pt"])
def test_a_snapshot_with_a_file_cut_off_is_not_taken(name: str, tmp_path: Path) -> None:
    """A snapshot that is not whole is removed, at whatever length a file was cut, and an older one is taken."""
    for number in (1, 2):
        folder = tmp_path / f"epoch-{number}"
        folder.mkdir()
        for file in ("state.pt", "results.csv", "best.pt", "last.pt"):
            (folder / file).write_bytes(f"{file} of epoch {number}".encode())
        digests = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.iterdir()}
        (folder / "manifest.json").write_text(json.dumps(digests))
    whole = (tmp_path / "epoch-2" / name).read_bytes()
    snapshots = Snapshots(tmp_path, 0)
    assert snapshots.latest() == tmp_path / "epoch-2"
    for length in range(len(whole)):
        shutil.copytree(tmp_path / "epoch-2", tmp_path / "kept")
        (tmp_path / "epoch-2" / name).write_bytes(whole[:length])
        assert snapshots.latest() == tmp_path / "epoch-1"
        assert not (tmp_path / "epoch-2").exists()
        (tmp_path / "kept").rename(tmp_path / "epoch-2")


@pytest.mark.slow
def test_snapshots_may_be_some_epochs_apart(tmp_path: Path) -> None:
    yolo = YOLO("yolov8n-focal.yaml")
    seen = []
    Snapshots(tmp_path / "snapshots", 0, every=2).attach(yolo)
    yolo.add_callback(
        "on_fit_epoch_end", lambda _: seen.append([path.name for path in (tmp_path / "snapshots").glob("*")])
    )
    yolo.train(project=str(tmp_path), name="train", seed=0, **SMALL)
    assert seen == [[], ["epoch-1"], ["epoch-1"], ["epoch-3"], ["epoch-3"], ["epoch-3"]]


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [{"warmup_epochs": 3}, {"warmup_epochs": 1, "nbs": 20}])
def test_without_an_interruption_the_steps_are_ultralytics_own(arguments: dict[str, Any], tmp_path: Path) -> None:
    weights = []
    for name in ("plain", "counted"):
        yolo = YOLO("yolov8n-focal.yaml")
        if name == "counted":
            stepping = Stepping()
            yolo.add_callback("on_train_start", stepping.take_over)
            yolo.add_callback("on_train_epoch_start", lambda _, stepping=stepping: stepping.begin_epoch(False))
            yolo.add_callback("on_train_batch_end", stepping.on_train_batch_end)
        yolo.train(project=str(tmp_path), name=name, seed=0, **{**SMALL, "epochs": 3, **arguments})
        last = torch.load(tmp_path / name / "weights" / "last.pt", weights_only=False)
        weights.append(last["model"].state_dict())
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
