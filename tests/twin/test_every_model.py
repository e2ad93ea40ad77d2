"""Every model: Ultralytics' own have a focal twin, and the packaged ones train, validate, predict and are exported."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import few
import numpy as np
import onnxruntime
import pytest
import torch
import ultralytics
from ultralytics import RTDETR, YOLO

from yolo_focal import ConfigError
from yolo_focal.hook import configs
from yolo_focal.shapes import TASKS
from yolo_focal.twin import config, layers

pytestmark = pytest.mark.slow
FOLDER = Path(ultralytics.__file__).parent / "cfg" / "models"
STOCK = sorted(FOLDER.rglob("*.yaml"))
# YOLO-World's two train on text embeddings that are downloaded.
PACKAGED = sorted(file.stem for file in configs.folder().glob("yolo*.yaml") if "world" not in file.stem)
SMALL = {"imgsz": 64, "batch": 4, "workers": 0, "plots": False, "verbose": False}


def run(file: Path) -> None:
    """Build a model YAML at the first of its scales, and run it."""
    model = RTDETR(file) if "rtdetr" in file.name else YOLO(file, verbose=False)
    with torch.no_grad():
        model.model.eval()(torch.zeros(1, 3, 64, 64))


@pytest.mark.parametrize("file", STOCK, ids=lambda file: file.stem)
def test_the_twin_of_a_model_of_ultralytics_builds_or_is_refused(file: Path, tmp_path: Path) -> None:
    text = config.read(file)
    if "SPPF" not in text and "Classify" not in text:
        with pytest.raises(ConfigError, match=r"no row names SPPF; write replace= with one of \w+"):
            config.twin(text, file.name)
        return
    twin = config.twin(text, file.name)
    layers.check_config(twin.original, twin.positions.replaced, file.name, "SPPF")
    path = tmp_path / config.name_of_twin(file.name)
    path.write_text(twin.text, encoding="utf-8")
    try:
        run(file)
    except Exception as error:
        pytest.skip(f"the original does not build: {type(error).__name__}: {error}")
    run(path)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A few images for each task."""
    folder = tmp_path_factory.mktemp("data")
    for task in TASKS:
        few.draw(folder / task, task, train=12, val=8)
        more = "kpt_shape: [5, 2]\n" if task == "pose" else ""
        (folder / f"{task}.yaml").write_text(few.yaml_of(folder / task, more))
    return {task: str(folder / (task if task == "classify" else f"{task}.yaml")) for task in TASKS}


def output(network: Any, images: torch.Tensor) -> np.ndarray:
    """Return a network's first output."""
    with torch.no_grad():
        out = network(images)
    while isinstance(out, (list, tuple)):
        out = out[0]
    return out.numpy()


@pytest.mark.parametrize("name", PACKAGED)
def test_a_packaged_model_trains_validates_predicts_and_is_exported(
    name: str, data: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    kind = RTDETR if "rtdetr" in name else YOLO
    model = kind(f"{name}.yaml")  # without a scale letter, Ultralytics uses the first scale, n
    given = {**SMALL, "data": data[model.task]}
    model.train(**given, epochs=1, val=False, project=str(tmp_path), name="train")
    trained = kind(shutil.copy(model.trainer.last, "last.pt"))
    assert np.isfinite([*trained.val(**given).results_dict.values()]).all()
    assert len(trained.predict(np.zeros((64, 64, 3), np.uint8), imgsz=64, verbose=False)) == 1
    images = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    exported = onnxruntime.InferenceSession(trained.export(format="onnx", imgsz=64, simplify=False))
    expected = output(kind("last.pt").model.float().eval(), images)
    (found, *_) = exported.run(None, {"images": images.numpy()})
    # Sorted, as of boxes with nearly equal scores either may come first.
    assert np.allclose(np.sort(expected, axis=None), np.sort(found, axis=None), atol=1e-3 * abs(expected).max())
