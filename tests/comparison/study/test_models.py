"""The models of a comparison: what they are called, where their weights are found, and what tells them apart."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from ultralytics.utils import SETTINGS

from yolo_focal import ConfigError
from yolo_focal.comparison.study import models
from yolo_focal.hook import configs
from yolo_focal.hook.modules import registry


@pytest.mark.parametrize(
    ("names", "labels"),
    [
        (["yolov8n.yaml", "cfg/yolov8n-focal.yaml"], ["yolov8n", "yolov8n-focal"]),
        (["a.pt", "runs/detect/train/weights/best.pt"], ["a", "best"]),
        (["runs/detect/train/weights/best.pt", "runs/detect/train2/weights/best.pt"], ["train", "train2"]),
        (["x/1/best.pt", "y/1/best.pt", "a.yaml"], ["x", "y", "a"]),
        (["yolov8n.yaml", "yolov8n.yaml"], ["yolov8n", "yolov8n-2"]),
        (["best.pt", "../best.pt"], ["best", "best-2"]),
        (["/a/best.pt", "a/best.pt"], ["best", "best-2"]),
        (["模型.yaml", "別の.yaml"], ["模型", "別の"]),
    ],
)
def test_what_models_are_called(names: list[str], labels: list[str]) -> None:
    assert models._labels(names) == labels


def test_weights_are_found_where_yolo_train_finds_them(checkpoint: Path, tmp_path: Path) -> None:
    folder = Path(SETTINGS["weights_dir"]).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(checkpoint, folder / "shelved.pt")
    try:
        assert models.weights("shelved.pt") == str(folder / "shelved.pt")
        (found,) = models.find(["shelved.pt"])
        assert (found.file, found.label) == (str(folder / "shelved.pt"), "shelved")
    finally:
        (folder / "shelved.pt").unlink()
    shutil.copy(checkpoint, "here.pt")
    assert models.weights("here.pt") == str(tmp_path / "here.pt")
    assert models.weights(True) is True


def test_what_are_no_weights() -> None:
    Path("env.sh").touch()
    torch.save({"state_dict": {}}, "weights.pt")
    torch.save({"model": torch.nn.Conv2d(1, 1, 1)}, "conv.pt")
    with pytest.raises(ConfigError) as caught:
        models.weights("env.sh")
    assert str(caught.value) == "pretrained=env.sh: write a checkpoint, such as yolov8n.pt, or True or False"
    for name in ("weights.pt", "conv.pt"):
        for call, argument in ((models.weights, "pretrained"), (lambda name: models.find([name]), "models")):
            with pytest.raises(ConfigError, match=f"^{argument}={name}: "):
                call(name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "yolov8n-focal.pt",
            "; make it with yolo-focal derive model=yolov8n.pt images=FOLDER save=yolov8n-focal.pt",
        ),
        ("none.pt", "; write the path of a checkpoint"),
    ],
)
def test_weights_that_are_nowhere(name: str, message: str) -> None:
    for call, argument in ((models.weights, "pretrained"), (lambda name: models.find([name]), "models")):
        with pytest.raises(ConfigError) as caught:
            call(name)
        assert str(caught.value) == (
            f"{argument}={name}: there is no such file here or among Ultralytics' weights, and it could not be "
            f"downloaded{message}"
        )


def test_the_scale_that_a_name_leaves_open() -> None:
    Path("open.yaml").write_text((configs.folder() / "yolov8-focal.yaml").read_text())
    found = models.find(["yolov8.yaml", "yolov8s.yaml", "open.yaml", "yolov8n-focal.yaml", "yolov8-focal.yaml"])
    assert [model.assumed for model in found] == ["n", "", "n", "", "n"]


BLOCK = """
import yolo_focal
from torch import nn

@yolo_focal.register
class Twice(nn.Identity):
    def __init__(self, dim):
        super().__init__()
"""


def test_the_code_of_a_users_module_counts(small_set: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_modules", registry.registered())  # what is registered here, no other test knows
    Path("own_block_of_a_test.py").write_text(BLOCK)
    monkeypatch.setenv("YOLO_FOCAL_MODULES", "own_block_of_a_test")
    for variable in ("_YOLO_FOCAL_FILES", "_YOLO_FOCAL_REGISTERED"):
        monkeypatch.setenv(variable, "")
    text = (configs.folder() / "yolov8-focal.yaml").read_text().replace("FocalModulation, []", "Twice, []")
    Path("own.yaml").write_text(text)
    (before,) = models.find(["own.yaml"])
    Path("own_block_of_a_test.py").write_text(BLOCK + "# changed\n")
    (after,) = models.find(["own.yaml"])
    assert before.content != after.content
    assert small_set
