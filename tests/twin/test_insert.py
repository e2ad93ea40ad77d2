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
from ultralytics.nn.modules import SPPF

from yolo_focal import ConfigError, FocalModulation
from yolo_focal.hook.modules import registration, registry
from yolo_focal.hook.modules.channels import KEEPING_CHANNELS
from yolo_focal.hook.rows import stock
from yolo_focal.twin import config, rows
from yolo_focal.twin.checkpoint import derive_checkpoint
from yolo_focal.twin.graft import graft

MODELS = Path(ultralytics.__file__).parent / "cfg" / "models"
WITH_SPPF = sorted(file for file in MODELS.rglob("*.yaml") if " SPPF, " in file.read_text(encoding="utf-8"))


class Half(nn.Module):
    """Halves its input."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, x: Tensor) -> Tensor:
        return x / 2


class Shrink(Half):
    """Halves the resolution."""

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :, ::2, ::2]


class Beside(SPPF):
    """SPPF with FocalModulation beside it, which starts as nothing."""

    def __init__(self, dim: int) -> None:
        super().__init__(dim, dim)
        self.cv1.act = nn.SiLU()  # as Ultralytics' parser sets it for YOLOv8
        self.focal = FocalModulation(dim)
        self.scale = nn.Parameter(torch.zeros(dim, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + self.scale * self.focal(x)


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Register the modules above, for one test."""
    monkeypatch.setattr(registry, "_modules", dict(registry._modules))
    monkeypatch.setattr(registration, "_tell_children", lambda *_: None)
    for cls in (Half, Shrink):
        registration.register(cls)
    registration.register(Beside, channels="same")
    registration.register(nn.Conv2d, name="Own", like="Conv")


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
    kept = {key: value for key, value in instead.model.state_dict().items() if not key.startswith("model.10.")}
    assert all(torch.equal(value, before[key]) for key, value in kept.items())
    assert original.state_dict().keys() == before.keys()

    inserted = graft(original, "x.pt", after="SPPF")
    assert_same(original, inserted.model)
    assert inserted.layers == {}
    assert inserted.weights == ["24 of 25 layers keep their weights", f"row 10 {same}"]


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


UNKNOWN = " One of your own is registered by a file: YOLO_FOCAL_MODULES=my_blocks.py"


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"module": "c2focal"}, f"with=c2focal: no module is registered by that name; did you mean C2Focal?{UNKNOWN}"),
        ({"module": "C2Focl"}, f"with=C2Focl: no module is registered by that name; did you mean C2Focal?{UNKNOWN}"),
        (
            {"module": "SPPF"},
            f"with=SPPF: no module is registered by that name; write one of SUITABLE.{UNKNOWN}",
        ),
        (
            {"module": "Own"},
            "with=Own: its output channels are for its row to say, as it is registered with another rule than "
            'channels="same"; write with= a module that keeps the shape: SUITABLE',
        ),
        (
            {"module": "C2Focal", "images": "photos"},
            "yolo-focal derive: images=photos: nothing is fitted to images where with=C2Focal; leave images= out",
        ),
        (
            {"after": "SPPF", "images": "photos"},
            "yolo-focal derive: images=photos: nothing is fitted to images where after=SPPF; leave images= out",
        ),
    ],
)
def test_wrong_arguments_are_named(arguments: dict[str, str], message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        derive_checkpoint("yolov8n.pt", tmp_path / "twin.pt", **arguments)
    suitable = [name for name, entry in registry.registered().items() if stock.rule_of(name, entry) in KEEPING_CHANNELS]
    assert str(caught.value) == message.replace("SUITABLE", ", ".join(sorted(suitable)))


MODULES = ["Conv", "SPPF", "Concat", "C2f", "Detect"]


@pytest.mark.parametrize(
    ("modules", "replace", "after", "message"),
    [
        (MODULES, "SPPF", "SPP", "m: no row names SPP; write after= with one of C2f, Concat, Conv, Detect, SPPF"),
        (MODULES, "5", "", "m: there is no row 5; write replace= with an index up to 4"),
        (MODULES, "SPPF", "5", "m: there is no row 5; write after= with an index up to 4"),
        (
            MODULES,
            "SPPF",
            "Detect",
            "m, row 4: after=Detect: it is the last row, and nothing would read a row behind it; write after= with "
            "another",
        ),
        (["Conv", "Classify"], "SPP", "", "m: no row names SPP; write replace= with one of Classify, Conv"),
    ],
)
def test_rows_that_are_not_there_are_named(modules: list[str], replace: str, after: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        rows.find(modules, "m", replace, after)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("before", "index", "source", "moved"),
    [
        ([2], 2, -1, -1),  # it reads the new row
        ([2], 3, -2, -2),  # rows 1 and 3 have a row between them, which is read in the place of row 1
        ([2], 4, -4, -5),
        ([2], 4, 0, 0),
        ([2], 4, 1, 2),
        ([2], 4, [-1, 1, 3], [-1, 2, 4]),
        ([2], 1, -1, -1),
        ([2, 4], 4, [0, 1, 2, 3, -1, -3], [0, 2, 3, 5, -1, -4]),
        ([1], 0, -1, -1),  # the model's input
        ([1], 3, "x", "x"),
        ([1], 3, True, True),
    ],
)
def test_what_rows_read_after_an_insertion(before: list[int], index: int, source: Any, moved: Any) -> None:
    assert rows.Positions([], before).reads(source, index) == moved


BLOCK = """backbone:
  - [-1, 1, Conv, [64, 3, 2]] # 0-P1/2
  - [-1, 1, SPPF, [64, 5]] # 1, pooled
  # what follows
head:
  - [[-1, 1, 0], 1, Concat, [1]] # 2
  - [-1, 1, Conv, [64]]   # 31 is no index
  - [[3], 1, Detect, [nc]] # 4"""
NEW = "[-1, 1, C2Focal, []]"


@pytest.mark.parametrize(
    ("text", "twin"),
    [
        (
            BLOCK,
            "backbone:\n  - [-1, 1, Conv, [64, 3, 2]] # 0-P1/2\n  - [-1, 1, SPPF, [64, 5]] # 1, pooled\n"
            f"  - {NEW}\n  # what follows\nhead:\n  - [[-1, 2, 0], 1, Concat, [1]] # 3\n"
            "  - [-1, 1, Conv, [64]]   # 31 is no index\n  - [[4], 1, Detect, [nc]] # 5",
        ),
        (  # a comment inside what a row reads
            "backbone:\n- [-1, 1, Conv, [8]]\n- [-1, 1, SPPF, []]\nhead:\n- [[0, # fine\n   1 ], 1, Detect, [nc]]\n",
            f"backbone:\n- [-1, 1, Conv, [8]]\n- [-1, 1, SPPF, []]\n- {NEW}\n"
            "head:\n- [[0, # fine\n   2 ], 1, Detect, [nc]]\n",
        ),
        (
            "backbone: [[-1, 1, SPPF, []]]\nhead: [[[-1, 0], 1, Detect, [nc]]]\n",
            f"backbone: [[-1, 1, SPPF, []], {NEW}]\nhead: [[[-1, 1], 1, Detect, [nc]]]\n",
        ),
        (
            "backbone: [\r\n  [-1, 1, SPPF, []],\r\n  [-1, 1, Conv, [8]]\r\n]\r\nhead: [[0, 1, Detect, [nc]]]\r\n",
            f"backbone: [\r\n  [-1, 1, SPPF, []],\r\n  {NEW},\r\n  [-1, 1, Conv, [8]]\r\n]\r\n"
            "head: [[1, 1, Detect, [nc]]]\r\n",
        ),
        (
            "backbone:\n  -\n    - -1\n    - 1\n    - SPPF\n    - - 64\n      - 5 # pooled\n"
            "head:\n  - [0, 1, Detect, [nc]]",
            "backbone:\n  -\n    - -1\n    - 1\n    - SPPF\n    - - 64\n      - 5 # pooled\n"
            f"  - {NEW}\nhead:\n  - [1, 1, Detect, [nc]]",
        ),
    ],
)
def test_a_row_is_inserted_behind_another_in_any_style(text: str, twin: str) -> None:
    assert config.twin(text, "x.yaml", after="SPPF", module="C2Focal").text == twin


@pytest.mark.parametrize(
    ("arguments", "lines"),
    [
        (
            ["model=yolo11n-seg.yaml", "after=SPPF", "with=C2Focal"],
            [
                "row 10: C2Focal, [] behind SPPF",
                "rows from 10 on: moved, and the indices that they read with them",
                "yolo11-c2focal-seg.yaml: written",
                "yolo train model=yolo11n-c2focal-seg.yaml data=my.yaml",
            ],
        ),
        (
            ["model=yolov8n-cls.yaml", "after=SPPF", "with=C2Focal", "save=new.yaml"],
            [
                "row 9: C2Focal, [] before Classify, as there is no SPPF",
                "new.yaml: written",
                "yolo train model=new.yaml data=my.yaml",
            ],
        ),
        (
            ["model=yolov8n.yaml", "replace=SPPF", "after=SPPF"],
            [
                "yolo-focal derive: replace=SPPF after=SPPF: a module is put in the place of another or behind it; "
                "write one of them"
            ],
        ),
        (
            ["model=yolov8n.yaml", "after=SPPF", "with=C2Focl"],
            [f"with=C2Focl: no module is registered by that name; did you mean C2Focal?{UNKNOWN}"],
        ),
    ],
)
def test_the_command_says_what_it_did(arguments: list[str], lines: list[str], tmp_path: Path) -> None:
    done = run(COMMAND, "derive", *arguments, cwd=tmp_path, check=False)
    assert done.stdout.splitlines() == lines
    assert done.returncode == (len(lines) == 1)
    assert len(list(tmp_path.iterdir())) == done.returncode ^ 1


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
