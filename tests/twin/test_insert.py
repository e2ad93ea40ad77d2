"""Twins with another module than FocalModulation, in the place of a row or behind it: what they compute and keep."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import ultralytics
import yaml
from support import COMMAND, YOLO, further, python, run
from torch import Tensor, nn

from yolo_focal import ConfigError
from yolo_focal.twin.checkpoint import derive_checkpoint
from yolo_focal.twin.graft import graft

MODELS = Path(ultralytics.__file__).parent / "cfg" / "models"
WITH_SPPF = sorted(file for file in MODELS.rglob("*.yaml") if " SPPF, " in file.read_text(encoding="utf-8"))


def network(name: str) -> Any:
    """Build a network whose norms have statistics of their own, so that no layer could be left out unnoticed."""
    torch.manual_seed(0)
    model: Any = (ultralytics.RTDETR if "rtdetr" in name else ultralytics.YOLO)(name).model
    for part in model.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.running_mean, -0.1, 0.1)
            nn.init.uniform_(part.running_var, 0.5, 1.5)
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.uniform_(part.bias, -0.5, 0.5)
    return model.eval()


def outputs(value: Any) -> list[Tensor]:
    """Return all tensors of a network's output, however nested."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        return [tensor for entry in value for tensor in outputs(entry)]
    return [value] if isinstance(value, Tensor) else []


def assert_same(one: Any, other: Any, side: int = 128) -> None:
    """Compare two networks' outputs on a random image."""
    parameter = next(one.parameters())
    channels = one.yaml.get("channels", 3)
    x = torch.rand(1, channels, side, side, generator=torch.Generator().manual_seed(1)).to(parameter)
    with torch.no_grad():
        pairs = list(zip(*(outputs(model(x)) for model in (one, other)), strict=True))
    assert pairs
    for expected, got in pairs:
        assert expected.shape == got.shape
        assert expected.float().std() > 0
        torch.testing.assert_close(got, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("family", ["yolov8n", *further("yolo11n")])
@pytest.mark.parametrize("task", ["", "-seg", "-pose", "-obb", "-cls"])
def test_the_twin_with_c2focal_is_the_original_until_it_is_trained(family: str, task: str, tmp_path: Path) -> None:
    name = f"{family}{task}"
    yolo = ultralytics.YOLO(f"{name}.yaml")
    yolo.model = network(f"{name}.yaml")
    yolo.model.args = yolo.overrides
    yolo.save(tmp_path / "original.pt")
    derive_checkpoint(str(tmp_path / "original.pt"), tmp_path / "twin.pt", after="SPPF", module="C2Focal")
    original, twin = (ultralytics.YOLO(tmp_path / f"{which}.pt").model.eval() for which in ("original", "twin"))
    assert len(twin.model) == len(original.model) + 1
    assert [layer.i for layer in twin.model] == list(range(len(twin.model)))
    assert_same(original, twin)
    assert {file.name for file in tmp_path.iterdir()} == {"original.pt", "twin.pt"}
    rebuilt = type(original)(twin.yaml, verbose=False)  # as a training does
    assert {k: v.shape for k, v in rebuilt.state_dict().items()} == {k: v.shape for k, v in twin.state_dict().items()}
    assert [(layer.i, layer.f) for layer in rebuilt.model] == [(layer.i, layer.f) for layer in twin.model]
    assert rebuilt.save == twin.save


@pytest.mark.slow
@pytest.mark.parametrize("file", WITH_SPPF, ids=lambda file: file.stem)
def test_every_model_with_an_sppf_is_the_same_with_c2focal_behind_it(file: Path) -> None:
    scaled = "scales" in yaml.safe_load(file.read_text(encoding="utf-8"))
    name = file.name.replace("yolov8", "yolov8n").replace("yolo11", "yolo11n").replace("yolo26", "yolo26n")
    try:
        original = network(name if scaled else file.name)
    except Exception as error:
        pytest.skip(f"it does not build here: {type(error).__name__}: {error}")  # some need weights from the internet
    for after in ("SPPF", "0"):
        twin = graft(original, file.name, after=after, module="C2Focal")
        assert_same(original, twin.model)
        assert twin.weights[-1].endswith("so the twin computes what the original does")


def test_other_weights_carry_over_and_what_is_new_is_said() -> None:
    original = network("yolo11n.yaml")
    before = {key: value.clone() for key, value in original.state_dict().items()}
    behind = graft(original, "x.pt", after="C3k2", module="C2Focal")
    assert_same(original, behind.model)
    places = [3, 6, 9, 12, 18, 22, 26, 30]
    assert behind.changes == [
        *(f"row {row}: C2Focal, [] behind C3k2" for row in places),
        "rows from 3 on: moved, and the indices that they read with them",
    ]
    same = "starts fresh and is the identity, so the twin computes what the original does"
    assert behind.weights == ["24 of 32 layers keep their weights", *(f"row {row} {same}" for row in places)]
    assert behind.layers == {}

    instead = graft(original, "x.pt", replace="C2PSA", module="C2Focal")
    assert instead.changes == ["row 10: C2PSA, [1024] -> C2Focal, []"]
    assert instead.weights == [
        "23 of 24 layers keep their weights",
        "row 10 starts fresh and computes something else than the old layer, so the twin must be trained before it is "
        "used",
    ]
    assert [*instead.layers] == [10]
    kept = {key: value for key, value in instead.model.state_dict().items() if not key.startswith("model.10.")}
    assert all(torch.equal(value, before[key]) for key, value in kept.items())
    assert original.state_dict().keys() == before.keys()

    inserted = graft(original, "x.pt", after="SPPF")
    assert_same(original, inserted.model)
    assert inserted.layers == {}
    assert inserted.weights == ["24 of 25 layers keep their weights", f"row 10 {same}"]


def test_the_attention_of_yolo26_goes_and_all_else_stays() -> None:
    original = network("yolo26n.yaml")
    twin = graft(original, "x.pt", replace="C2PSA", module="C2Focal")
    assert twin.changes == [
        "row 10: C2PSA, [1024] -> C2Focal, []",
        "row 22: C3k2, [1024, True, 0.5, True] -> C3k2Focal, [1024, 0.5]",
    ]
    differs = "and computes something else than the old layer, so the twin must be trained before it is used"
    assert twin.weights == [
        "22 of 24 layers keep their weights",
        f"row 10 starts fresh {differs}",
        f"row 22 takes over all but the attention {differs}",
    ]
    assert [*twin.layers] == [10, 22]
    old, new = original.state_dict(), twin.model.state_dict()
    lost = {key for key in old if key not in new or not torch.equal(old[key], new[key])}
    assert lost and all(key.startswith(("model.10.", "model.22.m.0.1.attn.")) for key in lost)


@pytest.mark.usefixtures("registered")
def test_a_module_of_ones_own_is_measured() -> None:
    original = network("yolov8n.yaml")
    half = graft(original, "x.pt", after="SPPF", module="Half")
    assert half.weights == [
        "23 of 24 layers keep their weights",
        "row 10 starts fresh and is not the identity, so the twin must be trained before it is used",
    ]
    beside = graft(original, "x.pt", replace="SPPF", module="Beside")
    assert beside.changes == ["row 9: SPPF, [1024, 5] -> Beside, []"]
    assert beside.weights == [
        "22 of 23 layers keep their weights",
        "row 9 takes over the old layer's weights and computes the same as the old layer, so the twin computes what "
        "the original does",
    ]
    assert_same(original, beside.model)


@pytest.mark.usefixtures("registered")
def test_a_module_that_does_not_keep_the_shape_is_refused() -> None:
    original = network("yolov8n.yaml")
    with pytest.raises(ConfigError) as caught:
        graft(original, "x.pt", after="SPPF", module="Shrink")
    assert str(caught.value) == (
        "row 10: Shrink makes 256x4x4 of 256x8x8; write with= a module that keeps the shape of one map"
    )


@pytest.mark.slow
def test_a_twin_is_trained_validated_exported_and_loaded_as_any_model(tmp_path: Path) -> None:
    python("from ultralytics import YOLO; YOLO('yolov8n.yaml').save('yolov8n.pt')", tmp_path)
    out = run(COMMAND, "derive", "model=yolov8n.pt", "after=SPPF", "with=C2Focal", cwd=tmp_path).stdout
    assert out.splitlines()[-4:] == [
        "23 of 24 layers keep their weights",
        "row 10 starts fresh and is the identity, so the twin computes what the original does",
        "yolov8n-c2focal.pt: written",
        "yolo train model=yolov8n-c2focal.pt data=my.yaml",
    ]
    small = ("data=shapes.yaml", "imgsz=64", "workers=0", "plots=False")
    out = run(
        *(YOLO, "train", "model=yolov8n-c2focal.pt", *small, "epochs=1", "fraction=0.1", "batch=8"), cwd=tmp_path
    ).stdout
    count = len(ultralytics.YOLO(tmp_path / "yolov8n-c2focal.pt").model.state_dict())
    assert f"Transferred {count - 6}/{count} items" in out or f"Transferred {count}/{count} items" in out
    last = "runs/detect/train/weights/last.pt"
    run(YOLO, "val", f"model={last}", *small, cwd=tmp_path, ULTRALYTICS_SAFE_LOAD="1")
    out = run(YOLO, "export", f"model={last}", "format=onnx", "imgsz=64", cwd=tmp_path).stdout
    assert "export success" in out
    code = f"""
import numpy as np, onnxruntime, torch
from ultralytics import YOLO
model = YOLO("{last}").model.float().eval()
x = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
with torch.no_grad():
    expected = model(x)[0].numpy()
session = onnxruntime.InferenceSession("{last}".replace(".pt", ".onnx"))
out = session.run(None, {{"images": x.numpy()}})[0]
print(f"{{np.abs(out - expected).max():.1e}} {{model.model[10].join.bn.weight.abs().max():.1e}}")
"""
    difference, factor = map(float, python(code, tmp_path).splitlines()[-1].split())
    assert difference < 0.01  # of box corners up to 64 pixels
    assert factor > 0
