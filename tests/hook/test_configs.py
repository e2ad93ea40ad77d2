"""The packaged configs, where they are found, and that Ultralytics' own configs are left as they were."""

from __future__ import annotations

import json
import py_compile
import shutil
from pathlib import Path

import pytest
import ultralytics
from support import REPO, python
from torch import nn
from ultralytics import YOLO

from yolo_focal import ConfigError, FocalModulation
from yolo_focal.hook import configs

CHANNELS = {"n": 256, "s": 512, "m": 576, "l": 512, "x": 640}  # of the outputs of rows 8 and 9


def sppf_parameters(c: int) -> int:
    """Two 1x1 convolutions without bias, c to c/2 and 4 * c/2 to c, each with a batch norm's scale and shift."""
    half = c // 2
    return c * half + 2 * half + 4 * half * c + 2 * c


def focal_parameters(c: int, levels: int = 2, window: int = 7, factor: int = 2) -> int:
    """Query, context and gates from one linear layer; a depthwise kernel per level; h; the output projection."""
    into = c * (2 * c + levels + 1) + (2 * c + levels + 1)
    kernels = sum(c * (window + factor * level) ** 2 for level in range(levels))
    return into + kernels + 2 * (c * c + c)


def size(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize("scale", CHANNELS)
def test_only_sppf_is_replaced(scale: str) -> None:
    stock, focal = YOLO(f"yolov8{scale}.yaml").model, YOLO(f"yolov8{scale}-focal.yaml").model
    channels = CHANNELS[scale]
    assert size(focal) == size(stock) - sppf_parameters(channels) + focal_parameters(channels)
    assert len(stock.model) == len(focal.model)
    for theirs, ours in zip(stock.model, focal.model, strict=True):
        assert (theirs.i, theirs.f) == (ours.i, ours.f)
        if ours.i == 9:
            assert theirs.type.endswith(".SPPF")
            assert type(ours) is FocalModulation
            assert ours.dim == channels
        else:
            assert theirs.type == ours.type
            assert {k: v.shape for k, v in theirs.state_dict().items()} == {
                k: v.shape for k, v in ours.state_dict().items()
            }
    assert stock.save == focal.save


def test_a_bare_name_is_found_from_any_folder(tmp_path: Path) -> None:
    code = (
        "from ultralytics import YOLO; m = YOLO('yolov8s-focal.yaml'); print(m.model.yaml['scale'], m.model.model[9])"
    )
    assert "s FocalModulation" in python(code, cwd=tmp_path)


@pytest.mark.parametrize("folder", ["cfg", "run2n/cfg", "run2n/3s/cfg"])
@pytest.mark.parametrize("decoy", [False, True])
def test_a_path_is_found_whatever_its_folders_are_called(tmp_path: Path, folder: str, decoy: bool) -> None:
    here = tmp_path / folder
    here.mkdir(parents=True)
    text = (REPO / "cfg" / "yolov8-focal.yaml").read_text()
    (here / "yolov8-focal.yaml").write_text(text)
    if decoy:  # where Ultralytics would look: the folder without its letter
        there = tmp_path / folder.replace("2n", "2")
        there.mkdir(parents=True, exist_ok=True)
        if there != here:
            (there / "yolov8-focal.yaml").write_text(text.replace("FocalModulation, []", "FocalModulation, [0.5]"))
    model = YOLO(str(here / "yolov8m-focal.yaml")).model
    assert model.yaml["scale"] == "m"
    assert model.model[9].dim == CHANNELS["m"]
    assert model.model[9].proj_drop.p == 0


def test_a_file_of_the_users_own_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (REPO / "cfg" / "yolov8-focal.yaml").read_text()
    (tmp_path / "yolov8-focal.yaml").write_text(text.replace("FocalModulation, []", "FocalModulation, [0.5]"))
    monkeypatch.chdir(tmp_path)
    assert YOLO("yolov8n-focal.yaml").model.model[9].proj_drop.p == 0.5


@pytest.mark.parametrize(
    ("name", "packaged"),
    [
        ("yolov8n-focal.yaml", "yolov8-focal.yaml"),
        ("yolov8-focal.yaml", "yolov8-focal.yaml"),
        ("cfg/yolov8x-focal.yaml", "yolov8-focal.yaml"),
        ("shapes.yaml", "shapes.yaml"),
        ("yolov8n.yaml", None),
        ("models/yolov8n-focal.yaml", None),
        ("yolov8n-focal.pt", None),
        ("no-such.yaml", None),
    ],
)
def test_what_a_name_means(name: str, packaged: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert configs.find(name) == (packaged and configs.folder() / packaged)


def test_a_missing_config_is_reported_by_ultralytics_as_before(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="does not exist"):
        YOLO(str(tmp_path / "run2n" / "yolov8n-focal.yaml"))


COUNT = """
import json, sys, warnings
from pathlib import Path
import ultralytics
from ultralytics import YOLO
from ultralytics.utils import LOGGER
LOGGER.setLevel("ERROR")
warnings.simplefilter("ignore")
counts = {}
for file in sorted((Path(ultralytics.__file__).parent / "cfg" / "models").rglob("*.yaml")):
    try:
        model = YOLO(file.name.replace("yolov8", "yolov8n").replace("yolo11", "yolo11n").replace("yolo26", "yolo26n"))
        counts[file.name] = sum(p.numel() for p in model.model.parameters())
    except Exception as error:
        counts[file.name] = f"{type(error).__name__}: {error}"
import yolo_focal
print(json.dumps([yolo_focal.is_active(), counts]))
"""


@pytest.mark.slow
def test_every_config_of_ultralytics_builds_as_before(tmp_path: Path) -> None:
    off = json.loads(python(COUNT, tmp_path, YOLO_FOCAL_AUTOLOAD="0").splitlines()[-1])
    on = json.loads(python(COUNT, tmp_path).splitlines()[-1])
    assert (off[0], on[0]) == (False, True)
    assert on[1] == off[1]
    shipped = list((Path(ultralytics.__file__).parent / "cfg" / "models").rglob("*.yaml"))
    assert len(on[1]) == len(shipped) > 20
    assert sum(isinstance(count, int) for count in on[1].values()) > 20


def test_without_a_checkout_the_packaged_copy_is_read(tmp_path: Path) -> None:
    shutil.copytree(REPO / "yolo_focal", tmp_path / "yolo_focal", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(REPO / "cfg", tmp_path / "yolo_focal" / "cfg")
    code = "from yolo_focal.hook import configs; print(configs.find('yolov8n-focal.yaml'))"
    expected = tmp_path / "yolo_focal" / "cfg" / "yolov8-focal.yaml"
    assert python(code, tmp_path).strip() == str(expected)


TRAIN_IT = "write a model YAML, such as model=yolov8n-focal.yaml"
AND_A_MODEL = "and a model, such as model=yolov8n-focal.yaml"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("focalnet.yaml", f"this file has settings of a training; write cfg=focalnet.yaml, {AND_A_MODEL}"),
        ("shapes.yaml", f"this file has a data set; write data=shapes.yaml, {AND_A_MODEL}"),
        ("coco8.yaml", f"this file has a data set; write data=coco8.yaml, {AND_A_MODEL}"),
        ("own.yaml", f"this file has no backbone and head; {TRAIN_IT}"),
        ("empty.yaml", f"this file has no backbone and head; {TRAIN_IT}"),
    ],
)
def test_a_file_that_is_no_model_is_refused(
    name: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.yaml").write_text("nc: 3\n")
    (tmp_path / "empty.yaml").write_text("nc:\n")
    with pytest.raises(ConfigError) as caught:
        YOLO(name)
    assert str(caught.value) == f"model={name}: {message}"


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("yolov8n-focal", "did you mean yolov8n-focal.yaml?"),
        (
            "yolov10n-focal.yaml",
            "it is not among the packaged ones: write it with yolo-focal derive model=yolov10n.yaml",
        ),
        (
            "yolov9c-c2focal.yaml",
            "it is not among the packaged ones: write it with yolo-focal derive model=yolov9c.yaml "
            "after=SPPF with=C2Focal",
        ),
    ],
)
def test_a_name_that_is_not_there_says_what_to_write(name: str, hint: str) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        YOLO(name)
    assert str(caught.value) == f"'{name}' does not exist; {hint}"


def test_a_family_that_the_release_does_not_have_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = {name: file for name, file in configs._shipped().items() if not name.startswith("yolo26")}
    monkeypatch.setattr(configs, "_shipped", lambda: shipped)
    with pytest.raises(ConfigError) as caught:
        YOLO("yolo26n-focal.yaml")
    assert str(caught.value) == (
        "model=yolo26n-focal.yaml: the installed Ultralytics has no yolo26; install a newer one: pip install -U "
        "ultralytics"
    )


def test_a_frozen_application_is_told_to_include_the_source(tmp_path: Path) -> None:
    copy = tmp_path / "ultralytics"
    shutil.copytree(Path(ultralytics.__file__).parent, copy, ignore=shutil.ignore_patterns("__pycache__", "assets"))
    source = copy / "nn" / "tasks.py"
    py_compile.compile(str(source), cfile=str(source.with_suffix(".pyc")))
    source.unlink()
    out = python("from ultralytics import YOLO; YOLO('yolov8n.yaml'); print('built')", tmp_path)
    assert out.splitlines()[-1] == "built"
    assert (
        f"yolo-focal is off: UnsupportedUltralyticsError: Ultralytics {ultralytics.__version__} cannot be extended: "
        "the source of ultralytics.nn.tasks is not there, as in a frozen application. Have it include the file "
        'ultralytics/nn/tasks.py: with PyInstaller, module_collection_mode={"ultralytics": "pyz+py"} '
        "(YOLO_FOCAL_AUTOLOAD=0 silences this line)\n"
    ) in out
