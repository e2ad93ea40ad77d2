"""FocalNet in Ultralytics: its rows, values by scale, its configs and its head."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from blocks import write
from support import COMMAND, YOLO, python, run
from ultralytics.nn.modules import Classify
from ultralytics.nn.tasks import ClassificationModel

import yolo_focal
from yolo_focal import ConfigError, focal
from yolo_focal.focal import FocalEmbed, FocalNorm, FocalStage
from yolo_focal.hook import configs
from yolo_focal.hook.heads import Classifier
from yolo_focal.hook.rows import arguments

LETTERS = ["n", "s", "x"]


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        ([2, {"a": 1}], [2, {"a": 1}]),
        ([{"n": 1, "s": 2, "x": 3}, 4], [2, 4]),
        ([{"n": 1, "else": 3}, 4], [3, 4]),
        ([{"s": [0, 1], "else": None}, 4], [[0, 1], 4]),
        ([{"depth": {"n": 1, "s": 6, "x": 3}, "k": {"k1": 1}}], [{"depth": 6, "k": {"k1": 1}}]),
        ([{"n": 1, "s": 2, "m": 3, "l": 4, "x": 5}, 4], [2, 4]),  # of scales that were taken out of the config
        ([{"m": 1, "else": 3}, 4], [3, 4]),
        ([{"s": 2, "k": 3}, 4], [{"s": 2, "k": 3}, 4]),
        ([{"n": 3}], [{"n": 3}]),  # a keyword of that name
        ([], []),
    ],
)
def test_values_by_scale(args: list[Any], expected: list[Any]) -> None:
    assert arguments.of_scale(args, "s", LETTERS, "here") == expected
    assert arguments.of_scale(args, "", [], "here") == args


def test_a_scale_without_a_value_is_named() -> None:
    with pytest.raises(ConfigError) as caught:
        arguments.of_scale([{"s": 2}, 4], "s", LETTERS, "a.yaml, row 2 (FocalEmbed)")
    assert str(caught.value) == (
        "a.yaml, row 2 (FocalEmbed): {'s': 2}: no value for n, x; write it, or else: for the others"
    )


def test_a_config_has_the_values_of_its_scale(tmp_path: Path) -> None:
    scales = {"n": [1.0, 0.25, 1024], "m": [1.0, 0.5, 1024]}
    rows_ = [
        [-1, 1, "FocalEmbed", [{"n": 8, "m": 16}, 4]],
        [-1, 1, "FocalStage", [{"n": 1, "else": 3}, {"focal_window": {"m": 5, "else": 3}, "drop_path": [0.0, 0.2]}]],
        [-1, 1, "FocalNorm", []],
        [-1, 1, "Classifier", ["nc"]],
    ]
    config = {"nc": 3, "scales": scales, "backbone": rows_, "head": []}
    (tmp_path / "yolov8-tiny.yaml").write_text(yaml.safe_dump({**config, "backbone": rows_[:3], "head": rows_[3:]}))
    for letter, channels, depth, window in (("n", 8, 1, 3), ("m", 16, 3, 5)):
        model = ultralytics_model(tmp_path / f"yolov8{letter}-tiny.yaml")
        embed, stage, norm, head = model.model
        assert [type(layer) for layer in model.model] == [FocalEmbed, FocalStage, FocalNorm, Classifier]
        assert (embed.proj.out_channels, len(stage.blocks)) == (channels, depth)
        assert stage.blocks[0].modulation.focal_layers[0][0].kernel_size == (window, window)
        assert norm.normalized_shape == (channels,)
        assert (head.linear.in_features, head.linear.out_features) == (channels, 3)


def test_a_packaged_config_without_some_of_its_scales_builds_those_it_has(tmp_path: Path) -> None:
    text = (configs.folder() / "yolov8-focalnet.yaml").read_text("utf-8")
    (tmp_path / "yolov8-focalnet.yaml").write_text(re.sub(r"^  [mlx]: .*\n", "", text, flags=re.MULTILINE), "utf-8")
    model = ultralytics_model(tmp_path / "yolov8s-focalnet.yaml")
    assert [*model.yaml["scales"]] == ["n", "s"]
    assert model.model[0].proj.out_channels == 96


def ultralytics_model(file: Path) -> Any:
    from ultralytics import YOLO as Model  # noqa: N811  the class of the command's name

    return Model(str(file), verbose=False).model


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ([-1, 1, "FocalEmbed", []], "arguments []: write its output channels first, such as [96, 4]"),
        ([-1, 1, "FocalEmbed", [8, 3]], "stride=3: write 4 for the first embedding, 2 for the others"),
        (
            [-1, 2, "FocalEmbed", [8, 2]],
            "repeats=2: it has 24 input and 8 output channels and cannot be stacked; write 1",
        ),
        ([-1, 1, "FocalStage", []], "FocalStage.__init__() missing 1 required positional argument: 'depth'"),
        ([-1, 1, "FocalStage", [2, {"window": 3}]], "unknown argument window=3: write focal_window"),
        ([-1, 1, "FocalNorm", [24]], "1 arguments [24]: write at most 0, in the order "),
    ],
)
def test_wrong_rows_are_named(row: list[Any], message: str, tmp_path: Path) -> None:
    file = write(tmp_path, row)
    with pytest.raises(ConfigError) as caught:
        ultralytics_model(file)
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"{file}, row 2 ({row[2]}): ")


def test_the_head_returns_what_ultralytics_own_returns() -> None:
    head, stock, x = Classifier(8, 3), Classify(8, 3), torch.randn(2, 8, 5, 4)
    for module in (head, stock):
        module.train()
    assert head(x).shape == stock(x).shape == (2, 3)
    logits = head(x)
    expected = torch.nn.functional.layer_norm(x.permute(0, 2, 3, 1), (8,)).mean((1, 2)) @ head.linear.weight.T
    torch.testing.assert_close(logits, expected + head.linear.bias)
    ours, theirs = head.eval()(x), stock.eval()(x)
    assert type(ours) is type(theirs)
    torch.testing.assert_close(ours[0] if isinstance(ours, tuple) else ours, logits.softmax(1))


def test_the_head_takes_another_number_of_classes() -> None:
    model = torch.nn.Sequential(FocalEmbed(3, 8, 4), Classifier(8, 3))
    ClassificationModel.reshape_outputs(model, 7)
    assert model[1].linear.out_features == 7


def test_the_classes_may_be_in_a_restricted_checkpoint(tmp_path: Path) -> None:
    code = """
import torch
from ultralytics.nn import tasks
for cls in torch.serialization.get_safe_globals():
    if getattr(cls, "__module__", "").startswith("yolo_focal"):
        print(f"{cls.__module__}.{cls.__name__}")
"""
    allowed = {*python(code, tmp_path).splitlines()}
    assert {f"yolo_focal.focal.{name}" for name in focal.__all__} <= allowed
    assert "yolo_focal.hook.heads.Classifier" in allowed


def test_weights_that_do_not_exist_are_said_to_be_derived(tmp_path: Path) -> None:
    done = run(YOLO, "predict", "model=yolov8s-focalnet.pt", cwd=tmp_path, check=False)
    assert done.returncode
    assert (
        "'yolov8s-focalnet.pt' does not exist: make it from published weights of FocalNet: yolo-focal derive "
        "model=yolov8s-focalnet.yaml weights=focalnet_tiny_lrf.ms_in1k save=yolov8s-focalnet.pt"
    ) in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("command", [YOLO, COMMAND])
def test_the_recipe_is_found_by_its_bare_name(command: str, tmp_path: Path) -> None:
    """The command reads it before it imports the models; it then stops at the data, which do not exist."""
    done = run(
        command, "train", "cfg=focalnet.yaml", "model=yolov8n-focalnet.yaml", "data=no.yaml", cwd=tmp_path, check=False
    )
    assert "'focalnet.yaml' does not exist" not in done.stdout
    assert "no.yaml" in done.stdout
    assert "with focalnet.yaml" in done.stdout


def test_the_recipe_names_arguments_of_ultralytics() -> None:
    from ultralytics.cfg import get_cfg

    recipe = yaml.safe_load((Path(yolo_focal.__file__).parents[1] / "cfg" / "focalnet.yaml").read_text())
    arguments = get_cfg(overrides=recipe)
    assert (arguments.optimizer, arguments.lr0, arguments.weight_decay) == ("AdamW", 1e-4, 0.05)
