"""Rows of a model YAML: the rows that build, and the messages for those that are refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from ultralytics import YOLO

from yolo_focal import ConfigError, FocalModulation


def write(folder: Path, args: list, source: object = -1, repeats: int = 1) -> Path:
    """Write a small classification model whose row 1 is FocalModulation."""
    file = folder / "tiny.yaml"
    backbone = [[-1, 1, "Conv", [16, 3, 2]], [source, repeats, "FocalModulation", args]]
    file.write_text(yaml.safe_dump({"nc": 3, "backbone": backbone, "head": [[-1, 1, "Classify", ["nc"]]]}))
    return file


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        ([], {"focal_level": 2, "kernels": [7, 9], "drop": 0.0}),
        ([0.1], {"focal_level": 2, "kernels": [7, 9], "drop": 0.1}),
        ([0.0, 3, 3, 4], {"focal_level": 3, "kernels": [3, 7, 11], "drop": 0.0}),
        ([{"focal_level": 3, "focal_window": 3}], {"focal_level": 3, "kernels": [3, 5, 7], "drop": 0.0}),
        ([0.2, {"focal_factor": 0, "use_postln": True}], {"focal_level": 2, "kernels": [7, 7], "drop": 0.2}),
    ],
)
def test_right_rows_build(tmp_path: Path, args: list, expected: dict) -> None:
    module = YOLO(str(write(tmp_path, args))).model.model[1]
    assert type(module) is FocalModulation
    assert module.dim == 16
    assert module.focal_level == expected["focal_level"]
    assert [layer[0].kernel_size[0] for layer in module.focal_layers] == expected["kernels"]
    assert module.proj_drop.p == expected["drop"]
    assert (module.i, module.f, module.type) == (1, -1, "yolo_focal.focal.FocalModulation")


def test_keyword_only_arguments_are_reached_through_the_mapping(tmp_path: Path) -> None:
    args = [{"bias": False, "normalize_modulator": True}]
    module = YOLO(str(write(tmp_path, args))).model.model[1]
    assert module.proj_in.bias is None
    assert module.normalize_modulator


def test_repeats_stack_the_module(tmp_path: Path) -> None:
    modules = YOLO(str(write(tmp_path, [], repeats=3))).model.model[1]
    assert [type(m) for m in modules] == [FocalModulation] * 3


DROP = "write a number from 0 up to but not including 1, such as 0.1"
CHANNELS = "looks like output channels: this layer has as many as its input, write []"
ORDER = "proj_drop, focal_level, focal_window, focal_factor, use_postln"


@pytest.mark.parametrize(
    ("args", "source", "message"),
    [
        ([1024], -1, f"proj_drop=1024: {DROP}. 1024 {CHANNELS}"),
        ([1024, 5], -1, f"proj_drop=1024: {DROP}. 1024 {CHANNELS}"),
        ([1.5], -1, f"proj_drop=1.5: {DROP}"),
        (["half"], -1, f"proj_drop='half': {DROP}"),
        ([0.0, 2, 8], -1, "focal_window=8: a kernel must be odd; write 7 or 9"),
        ([{"focal_window": 8}], -1, "focal_window=8: a kernel must be odd; write 7 or 9"),
        ([0.0, 0], -1, "focal_level=0: write an integer of at least 1"),
        ([{"focal_level": -1}], -1, "focal_level=-1: write an integer of at least 1"),
        ([{"focal_level": "two"}], -1, "focal_level='two': write an integer of at least 1"),
        ([0.0, "two"], -1, "focal_level='two': write an integer of at least 1"),
        ([{"focal_factor": -2}], -1, "focal_factor=-2: write an integer of at least 0"),
        ([{"focal_levels": 3}], -1, "unknown argument focal_levels=3: write focal_level"),
        ([{"dim": 64}], -1, f"unknown argument dim=64: write one of {ORDER}, bias, normalize_modulator"),
        ([0.1, {"proj_drop": 0.2}], -1, "proj_drop is given twice, as 0.1 and as 0.2: write it once"),
        (
            [0.0, 2, 7, 2, False, True],
            -1,
            f"6 arguments [0.0, 2, 7, 2, False, True]: write at most 5, in the order {ORDER}",
        ),
        ([], [-1, 0], "from=[-1, 0]: it reads one layer; write one index, such as -1"),
        ([], [-1], "from=[-1]: it reads one layer; write one index, such as -1"),
        ([], 7, "from=7: there is no such layer before it; write -1 for the previous one"),
        ([], "x", "from='x': it reads one layer; write one index, such as -1"),
    ],
)
def test_wrong_rows_are_refused(tmp_path: Path, args: list, source: object, message: str) -> None:
    file = write(tmp_path, args, source)
    with pytest.raises(ConfigError) as caught:
        YOLO(str(file))
    assert str(caught.value) == f"{file}, row 1 (FocalModulation): {message}"
