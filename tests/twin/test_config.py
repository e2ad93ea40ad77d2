"""The focal twin of a model YAML, and the `yolo-focal` command that writes it."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import COMMAND, run

from yolo_focal import ConfigError
from yolo_focal.hook import configs
from yolo_focal.twin import config

ORIGINAL = """# mine
nc: 3 # three
scales: {n: [0.33, 0.25, 1024]}
backbone:
  - [-1, 1, Conv, [64, 3, 2]]   # stem
  - [-1, 1, SPPF, [64, 5]]      # pooled
  - - -1
    - 1
    - "SPPF"
    -
      - 64
      - 5

head:
  - [[1, 2], 1, Detect, [nc]]
"""
TWIN = """# mine
nc: 3 # three
scales: {n: [0.33, 0.25, 1024]}
backbone:
  - [-1, 1, Conv, [64, 3, 2]]   # stem
  - [-1, 1, FocalModulation, []]      # pooled
  - - -1
    - 1
    - FocalModulation
    -
      []

head:
  - [[1, 2], 1, Detect, [nc]]
"""


LATIN_1 = ORIGINAL.replace("three", "tr\xeas").encode("latin-1")


def test_only_the_matching_rows_change() -> None:
    twin = config.twin(ORIGINAL, "mine.yaml")
    assert twin.text == TWIN
    assert twin.changes == [
        "row 1: SPPF, [64, 5] -> FocalModulation, []",
        "row 2: SPPF, [64, 5] -> FocalModulation, []",
    ]


@pytest.mark.parametrize(
    ("text", "replace", "message"),
    [
        (TWIN, "SPPF", "mine.yaml: no row names SPPF; write replace= with one of Conv, Detect, FocalModulation"),
        (ORIGINAL, "sppf", "mine.yaml: no row names sppf; write replace= with one of Conv, Detect, SPPF"),
        ("nc: 3\n", "SPPF", "mine.yaml: no list of rows named backbone; write a model YAML such as yolo11n.yaml"),
        (
            "backbone: [[1, 2]]\nhead: []\n",
            "SPPF",
            "mine.yaml, row 0: write four entries, [from, repeats, module, [args]]",
        ),
        (
            "backbone: []\nhead: [[-1, 1, SPPF, 64]]\n",
            "SPPF",
            "mine.yaml, row 0: write four entries, [from, repeats, module, [args]]",
        ),
        ("a:\n  b: [", "SPPF", "mine.yaml, line 2: it is not YAML: expected the node content, but found"),
        ("a: !mine 3", "SPPF", "mine.yaml, line 1: it is not YAML: could not determine a constructor for the tag"),
        ("a: *b", "SPPF", "mine.yaml, line 1: it is not YAML: found undefined alias"),
        ("a: \x00", "SPPF", "mine.yaml: it is not YAML: unacceptable character #x0000"),
        ("- 1\n", "SPPF", "mine.yaml: no list of rows named backbone"),
        ("", "SPPF", "mine.yaml: no list of rows named backbone"),
        ("backbone: []\nhead: []\n", "SPPF", "mine.yaml: it has no rows"),
    ],
)
def test_what_cannot_be_derived_is_refused(text: str, replace: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config.twin(text, "mine.yaml", replace)
    assert str(caught.value).startswith(message)


def test_only_utf_8_is_read(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_bytes(LATIN_1)
    with pytest.raises(ConfigError) as caught:
        config.read(tmp_path / "mine.yaml")
    assert str(caught.value) == f"{tmp_path / 'mine.yaml'}, line 2: it is not UTF-8; save it as UTF-8"


@pytest.mark.parametrize(
    ("name", "twin"),
    [
        ("yolov8.yaml", "yolov8-focal.yaml"),
        ("yolov8-seg-p6.yaml", "yolov8-focal-seg-p6.yaml"),
        ("yolo11-obb.yaml", "yolo11-focal-obb.yaml"),
        ("yolov10n.yaml", "yolov10n-focal.yaml"),
        ("yoloe-v8-seg.yaml", "yoloe-v8-focal-seg.yaml"),
        ("yoloe-11.yaml", "yoloe-11-focal.yaml"),
        ("yolov3-spp.yaml", "yolov3-focal-spp.yaml"),
        ("mine.yaml", "mine-focal.yaml"),
    ],
)
def test_names_of_twins(name: str, twin: str) -> None:
    assert config.name_of_twin(name) == twin


def test_attention_with_arguments_of_its_own_is_not_left_in_silence() -> None:
    rows = "[[-1, 1, C2PSA, [64]], [-1, 1, C3k2, [64, True, 0.5, True, 2]]]"
    text = f"nc: 3\nbackbone: {rows}\nhead: [[-1, 1, Detect, [nc]]]"
    with pytest.raises(ConfigError) as caught:
        config.twin(text, "x.yaml", replace="C2PSA", module="C2Focal")
    assert str(caught.value) == (
        "x.yaml, row 1: [64, True, 0.5, True, 2]: C3k2Focal takes its place with c2 and e alone; write "
        "[64, True, 0.5, True] in it"
    )


def test_derive_says_what_it_changed_and_overwrites_nothing(tmp_path: Path) -> None:
    done = run(COMMAND, "derive", "model=yolo11n-seg.yaml", cwd=tmp_path)
    assert "-> FocalModulation, []" in done.stdout
    assert done.stdout.splitlines() == [
        "row 9: SPPF, [1024, 5] -> FocalModulation, []",
        "yolo11-focal-seg.yaml: written",
        "yolo train model=yolo11n-focal-seg.yaml data=my.yaml",
    ]
    written = (tmp_path / "yolo11-focal-seg.yaml").read_text(encoding="utf-8")
    assert written.count("#") > 10
    again = run(COMMAND, "derive", "model=yolo11n-seg.yaml", cwd=tmp_path)
    assert again.stdout.splitlines()[1:] == [
        "yolo11-focal-seg.yaml: is there already, the same",
        "yolo train model=yolo11n-focal-seg.yaml data=my.yaml",
    ]
    (tmp_path / "yolo11-focal-seg.yaml").write_text("mine")
    refused = run(COMMAND, "derive", "model=yolo11n-seg.yaml", cwd=tmp_path, check=False)
    assert (refused.returncode, refused.stdout) == (
        1,
        "yolo11-focal-seg.yaml: there is another file of that name; write save= with a new one\n",
    )
    assert (tmp_path / "yolo11-focal-seg.yaml").read_text() == "mine"
    assert {file.name for file in tmp_path.iterdir()} == {"yolo11-focal-seg.yaml"}


def test_derive_takes_a_model_of_ones_own(tmp_path: Path) -> None:
    windows = ("\ufeff" + ORIGINAL).replace("\n", "\r\n").encode()
    (tmp_path / "mine.yaml").write_bytes(windows)
    run(COMMAND, "derive", "model=mine.yaml", "save=here/twin.yaml", cwd=tmp_path)
    assert (tmp_path / "here" / "twin.yaml").read_bytes() == ("\ufeff" + TWIN).replace("\n", "\r\n").encode()


@pytest.mark.parametrize(
    ("twin", "model", "command"),
    [
        ("yolo11-focal-seg.yaml", "yolo11n-seg.yaml", "yolo train model=yolo11n-focal-seg.yaml data=my.yaml"),
        ("a1n/yoloe-v8-focal.yaml", "b/yoloe-v8x.yaml", "yolo train model=a1n/yoloe-v8x-focal.yaml data=my.yaml"),
        ("yolo11-focal.yaml", "yolo11.yaml", "yolo train model=yolo11-focal.yaml data=my.yaml"),
        ("yolov10n-focal.yaml", "yolov10n.yaml", "yolo train model=yolov10n-focal.yaml data=my.yaml"),
        ("twin.yaml", "yolo11n.yaml", "yolo train model=twin.yaml data=my.yaml"),
        (
            "twin.yaml",
            "yolo11s.yaml",
            "yolo train model=twin.yaml data=my.yaml # at the first scale; for s, write save= with a name such as "
            "yolo11s-focal.yaml",
        ),
    ],
)
def test_the_command_that_trains_a_twin(twin: str, model: str, command: str) -> None:
    assert config.training_command(Path(twin), model, "nsmlx", config.name_of_twin(model)).replace("\\", "/") == command


def test_copy_cfg_hands_over_the_packaged_files(tmp_path: Path) -> None:
    run(COMMAND, "copy-cfg", cwd=tmp_path)
    copied = {file.name: file.read_bytes() for file in (tmp_path / "cfg").iterdir()}
    assert copied == {file.name: file.read_bytes() for file in configs.folder().iterdir()}
    (tmp_path / "cfg" / "shapes.yaml").write_bytes(LATIN_1)
    refused = run(COMMAND, "copy-cfg", cwd=tmp_path, check=False)
    assert refused.returncode == 1
    assert refused.stdout == "cfg/shapes.yaml: there is another file of that name; write dir= with a new folder\n"
    assert (tmp_path / "cfg" / "shapes.yaml").read_bytes() == LATIN_1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["derve"], "yolo-focal derve: no such command (did you mean derive?). It has:"),
        (["derive"], "yolo-focal derive: model= is missing, such as model=yolo11n-seg.yaml"),
        (
            ["derive", "modle=a.yaml"],
            "yolo-focal derive: modle=a.yaml: write key=value, with model=, images=, data=, weights=, backbone=, "
            "save=, replace=, after=, with= (did",
        ),
        (
            ["derive", "a.yaml"],
            "yolo-focal derive: a.yaml: write key=value, with model=, images=, data=, weights=, backbone=, save=, "
            "replace=, after=, with=",
        ),
        (
            ["derive", "model=yolo11n-sge.yaml"],
            "model=yolo11n-sge.yaml: there is no such model YAML; did you mean yolo11",
        ),
        (
            ["derive", "model=yolo11n.yaml", "images=photos"],
            "yolo-focal derive: images=photos: yolo11n.yaml has no weights to carry over; leave images= out, "
            "or write model= with a .pt file\n",
        ),
        (
            ["derive", "model=yolov8s-focalnet.yaml", "weights=a.pth", "replace=Conv"],
            "yolo-focal derive: replace=Conv: it does not go with weights=; leave replace= out\n",
        ),
        (
            ["derive", "model=yolov8s-focalnet.pt", "weights=a.pth"],
            "yolo-focal derive: model=yolov8s-focalnet.pt: weights= fills a model YAML; write one such as "
            "yolov8s-focalnet.yaml\n",
        ),
        (
            ["derive", "model=best.onnx"],
            "model=best.onnx: write a model YAML, or the checkpoint (.pt) that an exported model was made of\n",
        ),
        (
            ["derive", "model=/no/x"],
            "model=/no/x: there is no such model YAML; write a path, or a name such as yolo11n",
        ),
        (
            ["derive", "model=rtdetr-l.yaml"],
            "rtdetr-l.yaml: no row names SPPF; write replace= with one of AIFI, Concat",
        ),
        (
            ["derive", "model=yolov8s.yaml", "replace=Concat"],
            "yolov8s.yaml, row 11: Concat makes 768x16x16 of 2 maps, and FocalModulation keeps the shape of one map; "
            "write replace= with a module that does\n",
        ),
    ],
)
def test_wrong_arguments_are_named(arguments: list[str], message: str, tmp_path: Path) -> None:
    done = run(COMMAND, *arguments, cwd=tmp_path, check=False)
    assert done.returncode == 1
    assert done.stdout.startswith(message)
    assert not list(tmp_path.iterdir())


def test_help_is_what_comes_without_a_command(tmp_path: Path) -> None:
    assert run(COMMAND, cwd=tmp_path).stdout.startswith("yolo-focal derive model=yolo11n-seg.yaml [save=PATH]")
