"""A user's files of modules: however they are named, wherever they are found, and whatever they import."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest
from blocks import BLOCKS, MODULES, SEES, warnings_of, write
from support import COMMAND, REPO, YOLO, further, python, run


def test_the_stock_command_has_them(folder: Path) -> None:
    out = run(YOLO, "export", "model=tiny.yaml", "imgsz=64", cwd=folder, **{MODULES: "my_blocks"}).stdout
    assert "export success" in out


@pytest.mark.parametrize(
    "named",
    [
        *("my_blocks.py", "{folder}/my_blocks.py", " ,my_blocks , package.more"),
        *further("my_blocks", "./my_blocks.py", "./package"),
    ],
)
def test_every_way_of_naming_a_file(named: str, folder: Path) -> None:
    (folder / "package").mkdir()
    (folder / "package" / "more.py").write_text(BLOCKS.replace("Twice", "Thrice"))
    (folder / "package" / "__init__.py").write_text("from package.more import Thrice")
    if "package" in named:
        write(folder, [-1, 1, "Thrice", []])
    env = {MODULES: named.format(folder=folder)}
    out = python(SEES, folder, **env)
    assert out.splitlines()[-1] == ("Thrice" if "package" in named else "Twice")
    assert warnings_of(out) == []


def test_a_file_is_also_found_beside_the_model(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("else where")
    for named in ("my_blocks", "my_blocks.py"):
        code = SEES.replace("tiny.yaml", f"{folder}/tiny.yaml")
        assert python(code, elsewhere, **{MODULES: named}).splitlines()[-1] == "Twice"


IMPORTS = """
from ultralytics import YOLO
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.nn.modules import Conv
from ultralytics.nn.tasks import DetectionModel, parse_model
from my_helpers import FACTOR
"""


@pytest.mark.slow
def test_a_file_may_import_ultralytics_and_its_neighbours(folder: Path) -> None:
    (folder / "my_helpers.py").write_text("FACTOR = 2\n\nclass Kept: ...\n")
    (folder / "my_blocks.py").write_text(f"{IMPORTS}\nassert YOLO and DetectionTrainer and Conv\n{BLOCKS}")
    for first in ("", "import ultralytics.nn.tasks; ", "import torch; ", "from ultralytics.nn import tasks; "):
        assert python(f"{first}{SEES}", folder, **{MODULES: "my_blocks"}).splitlines()[-1] == "Twice"


def test_the_module_search_path_stays_as_it_is(folder: Path) -> None:
    (folder / "wandb.py").write_text("print('the wrong wandb')")
    (folder / "broken.py").write_text("import nothing_at_all")
    code = f"import sys; before = list(sys.path); {SEES}; print(sys.path == before)"
    script = folder.parent / f"{folder.name}.py"  # a script elsewhere: the folder is not on its search path
    script.write_text(f"{code}\ntry:\n    import wandb\nexcept ImportError:\n    print('none')")
    out = run(sys.executable, script, cwd=folder, **{MODULES: "my_blocks,broken"}).stdout
    assert out.splitlines()[-2:] == ["True", "none"]


def test_an_entry_point_is_enough(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    installed = tmp_path_factory.mktemp("installed")
    (installed / "twice_blocks.py").write_text(BLOCKS)
    info = installed / "twice-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: twice\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[yolo_focal.modules]\nany = twice_blocks\n")
    (folder / "my_blocks.py").unlink()
    assert python(SEES, folder, PYTHONPATH=os.pathsep.join([str(installed), *sys.path])).splitlines()[-1] == "Twice"


OVERRIDES = """
import sys
from ultralytics import YOLO
print(*[type(YOLO(file).model.model[int(row)]).__module__ for file, row in (arg.split(":") for arg in sys.argv[1:])])
"""


def test_a_focal_modulation_of_ones_own_is_for_ones_own_files(folder: Path) -> None:
    (folder / "my_blocks.py").write_text(
        BLOCKS.replace("yolo_focal.register", "yolo_focal.register(override=True)").replace("Twice", "FocalModulation")
    )
    write(folder, [-1, 1, "FocalModulation", []])
    (folder / "see.py").write_text(OVERRIDES)
    arguments = ("tiny.yaml:2", "yolov8n-focal.yaml:9", f"{REPO}/cfg/yolov8-focal.yaml:9")
    out = run(sys.executable, "see.py", *arguments, cwd=folder, **{MODULES: "my_blocks"}).stdout
    assert out.splitlines()[-1] == "my_blocks yolo_focal.focal yolo_focal.focal"
    # What derive writes is fitted and built with the package's own, and it says what a training would read.
    out = run(COMMAND, "derive", "model=yolov8n.yaml", cwd=folder, **{MODULES: "my_blocks"}).stdout
    assert warnings_of(out) == [
        f"yolo-focal: with=FocalModulation is this package's. With {MODULES} set as it is, a training reads the rows "
        "that are written as my_blocks.FocalModulation: unset it there"
    ]


RELATIVE = """
from .conv import Conv, autopad
from ..modules.block import C2f
from ultralytics.nn.modules.conv import Conv as Absolute
import torch
import yolo_focal
from {other}

assert Conv is Absolute

@yolo_focal.register
class Twice(C2f):
    pass
"""


def test_a_file_that_imports_relatively_stands_among_ultralytics_modules(folder: Path) -> None:
    (folder / "my_helpers.py").write_text("FACTOR = 2")
    (folder / "my_blocks.py").write_text(RELATIVE.format(other="my_helpers import FACTOR"))
    write(folder, [-1, 1, "Twice", [24]])
    saved = "from ultralytics import YOLO; YOLO('tiny.yaml').save('tiny.pt')"
    child = "from ultralytics import YOLO; print(type(YOLO('tiny.pt').model.model[2]).__module__)"
    code = (
        f"{saved}\nimport subprocess, sys; subprocess.run([sys.executable, '-W', 'error', '-c', {child!r}], check=True)"
    )
    out = python(code, folder, **{MODULES: "my_blocks.py"})
    assert warnings_of(out) == []
    assert out.splitlines()[-1] == "my_blocks"


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (".absent import Absent", "ModuleNotFoundError: No module named 'ultralytics.nn.modules.absent'"),
        (".conv import Absent", "ImportError: cannot import name 'Absent' from 'ultralytics.nn.modules.conv' ({conv})"),
    ],
)
def test_what_ultralytics_modules_lack_is_said(other: str, reason: str, folder: Path) -> None:
    from ultralytics.nn.modules import conv

    (folder / "my_blocks.py").write_text(RELATIVE.format(other=other))
    (warning,) = warnings_of(python(SEES, folder, check=False, **{MODULES: "my_blocks"}))
    assert warning == (
        f"yolo-focal: {MODULES}: my_blocks: {reason.format(conv=conv.__file__)} ({folder}/my_blocks.py, line 7: from "
        f"{other}). It imports relatively, so it is imported as if it stood in ultralytics/nn/modules: what is not "
        "there, paste into it, or import from a file beside it without the dot, such as from other import Block"
    )


def test_the_page_is_right(tmp_path: Path) -> None:
    page = (REPO / "docs" / "own-modules.md").read_text(encoding="utf-8")
    block, rule = re.findall(r"```python\n(.*?)```", page, re.DOTALL)[:2]
    (tmp_path / "my_blocks.py").write_text(
        f"{block}\n\n{rule}\nyolo_focal.register(nn.Conv2d, name='Wide', channels=rule)"
    )
    for row, built in (([-1, 1, "Residual", [5]], "Residual"), ([-1, 1, "Wide", [40, 1]], "Conv2d")):
        write(tmp_path, row)
        assert python(SEES, tmp_path, **{MODULES: "my_blocks"}).splitlines()[-1] == built
