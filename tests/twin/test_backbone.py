"""The backbone of a model YAML is replaced by another of timm."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import ultralytics
import yaml

from yolo_focal import ConfigError
from yolo_focal.hook import configs
from yolo_focal.twin.derive import DEFAULTS, derive


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", ["yolov8s-timm", "yolo11-timm", "yolo26n-timm", "yolov8m-timm-cls"])
def test_only_the_backbone_changes(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    given = {**DEFAULTS, "model": f"{name}.yaml", "backbone": "resnet18.a1_in1k"}
    derive(given)
    scaled = f"{name.replace('timm', 'resnet18-a1_in1k')}.yaml"
    file = re.sub(r"(\d)[smn]", r"\1", scaled, count=1)
    assert capsys.readouterr().out.splitlines()[1:] == [
        "its maps: stride 4 (64 channels), stride 8 (128 channels), stride 16 (256 channels), stride 32 (512 channels)",
        f"{file}: written",
        f"yolo train model={scaled} data=my.yaml",
    ]
    written, packaged = (yaml.safe_load(path.read_text()) for path in (Path(file), configs.model(f"{name}.yaml")))
    packaged["backbone"][0] = [-1, 1, "Timm", ["resnet18.a1_in1k", False]]
    assert written == packaged
    ultralytics.YOLO(scaled)
    derive(given)
    assert f"{file}: is there already, the same" in capsys.readouterr().out


def test_a_row_keeps_what_it_says_of_weights() -> None:
    text = configs.model("yolov8-timm.yaml").read_text("utf-8")
    Path("yolov8-mine.yaml").write_text(re.sub(r"\{n: .*\}, False", "resnet50, True", text))
    derive({**DEFAULTS, "model": "yolov8-mine.yaml", "backbone": "resnet18", "save": "yolov8-other.yaml"})
    assert "[-1, 1, Timm, [resnet18, True]] # 0" in Path("yolov8-other.yaml").read_text()


@pytest.mark.parametrize(
    ("model", "written"),
    [
        ("yolov8-resnet50-a1_in1k.yaml", "yolov8-resnet18.yaml"),
        ("mine.yaml", "mine-resnet18.yaml"),
    ],
)
def test_what_the_new_file_is_called(model: str, written: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = configs.model("yolov8-timm.yaml").read_text("utf-8")
    Path(model).write_text(re.sub(r"\{n: .*\}, False", "resnet50.a1_in1k, False", text))
    derive({**DEFAULTS, "model": model, "backbone": "resnet18"})
    assert f"\n{written}: written\n" in capsys.readouterr().out


def test_the_name_that_a_scale_needs_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    derive({**DEFAULTS, "model": "yolov8s-timm.yaml", "backbone": "resnet18", "save": "mine.yaml"})
    assert capsys.readouterr().out.endswith(
        "yolo train model=mine.yaml data=my.yaml # at the first scale; for s, write save= with a name such as "
        "yolov8s-resnet18.yaml\n"
    )


def test_nothing_is_put_between_a_backbone_and_its_maps() -> None:
    with pytest.raises(ConfigError) as caught:
        derive({**DEFAULTS, "model": "yolov8n-timm.yaml", "after": "Timm", "with": "C2Focal"})
    assert "it reads row 0 (Timm), which returns several maps; put a row that takes one" in str(caught.value)
    assert not list(Path.cwd().iterdir())
    derive({**DEFAULTS, "model": "yolov8n-timm.yaml", "after": "SPPF", "with": "C2Focal"})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"model": "yolov8s.yaml"},
            "yolov8s.yaml: no row names Timm; write model= with one that does, such as yolov8s-timm.yaml",
        ),
        (
            {"model": "best.pt"},
            "yolo-focal derive: model=best.pt: backbone= is for a model YAML; write one such as yolov8s-timm.yaml",
        ),
        (
            {"model": "yolov8s-timm.yaml", "replace": "SPPF"},
            "yolo-focal derive: replace=SPPF: it does not go with backbone=; leave replace= out",
        ),
        (
            {"model": "yolov8s-timm.yaml", "backbone": "vit_tiny_patch16_224"},
            "vit_tiny_patch16_224 has maps of stride 16; write a model with 8, 16 and 32, such as resnet50, "
            "convnext_tiny, mobilenetv4_conv_small or focalnet_tiny_lrf",
        ),
    ],
)
def test_what_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        derive({**DEFAULTS, "backbone": "resnet18", **given})
    assert str(caught.value) == message
    assert not list(Path.cwd().iterdir())
