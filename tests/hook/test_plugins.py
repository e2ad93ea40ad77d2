"""A user's files of modules: however they are named, whatever they import, and in every process."""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path

import pytest
from blocks import BLOCKS, SEES, write
from support import COMMAND, REPO, YOLO, further, python, run

MODULES = "YOLO_FOCAL_MODULES"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a module of the user's own and a model that has it."""
    (tmp_path / "my_blocks.py").write_text(BLOCKS)
    write(tmp_path, [-1, 1, "Twice", []])
    return tmp_path


def warnings_of(output: str) -> list[str]:
    return [line for line in output.splitlines() if line.startswith("yolo-focal: ")]


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


CHILD = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {SEES!r}], cwd='elsewhere', check=True)"


@pytest.fixture
def elsewhere(folder: Path) -> Path:
    """A folder below with the same model, and another file of the same name."""
    place = folder / "elsewhere"
    place.mkdir()
    shutil.copy(folder / "tiny.yaml", place)
    (place / "my_blocks.py").write_text("raise RuntimeError('not this one')")
    return place


@pytest.mark.slow
@pytest.mark.parametrize("named", ["my_blocks", "my_blocks.py", "./my_blocks.py"])
@pytest.mark.usefixtures("elsewhere")
def test_child_processes_load_the_very_file_of_the_parent(named: str, folder: Path) -> None:
    out = python(f"{SEES}; {CHILD}", folder, **{MODULES: named})
    assert [line for line in out.splitlines() if line == "Twice"] == ["Twice", "Twice"]
    assert warnings_of(out) == []


@pytest.mark.slow
@pytest.mark.usefixtures("elsewhere")
def test_child_processes_have_what_was_imported_by_hand(folder: Path) -> None:
    assert python(f"import my_blocks; {CHILD}", folder).splitlines()[-1] == "Twice"


REGISTERED_ELSEWHERE = """
import yolo_focal
from my_helper import helped
from torch import nn

@helped
class Twice(nn.Identity):
    def __init__(self, dim):
        super().__init__()

def rule(channels, args, scaling):
    return args[0], [channels, *args]

yolo_focal.register(nn.Conv2d, name="Wide", channels=rule)
"""


@pytest.mark.slow
@pytest.mark.usefixtures("elsewhere")
def test_child_processes_have_what_a_helper_registered_and_classes_of_others(folder: Path) -> None:
    (folder / "my_helper.py").write_text("import yolo_focal\ndef helped(cls):\n    return yolo_focal.register(cls)\n")
    (folder / "my_blocks.py").write_text(REGISTERED_ELSEWHERE)
    assert python(f"import my_blocks; {CHILD}", folder).splitlines()[-1] == "Twice"
    write(folder / "elsewhere", [-1, 1, "Wide", [40, 1]])
    assert python(f"import my_blocks; {CHILD}", folder).splitlines()[-1] == "Conv2d"


@pytest.mark.slow
def test_a_pickled_model_is_found_by_child_processes(folder: Path) -> None:
    (folder / "send.py").write_text(
        "import multiprocessing as mp\n"
        "def take(model):\n    print(type(model.model[2]).__name__)\n"
        "if __name__ == '__main__':\n"
        "    from ultralytics import YOLO\n"
        "    model = YOLO('tiny.yaml').model\n"
        "    process = mp.get_context('spawn').Process(target=take, args=(model,))\n"
        "    process.start(); process.join(); assert process.exitcode == 0\n"
    )
    moved = folder / "script"
    moved.mkdir()
    (folder / "send.py").rename(moved / "send.py")  # so that the folder of the file is not on the search path
    out = run(sys.executable, moved / "send.py", cwd=folder, **{MODULES: "my_blocks"}).stdout
    assert out.splitlines()[-1] == "Twice"


def test_an_entry_point_is_enough(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    installed = tmp_path_factory.mktemp("installed")
    (installed / "twice_blocks.py").write_text(BLOCKS)
    info = installed / "twice-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: twice\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[yolo_focal.modules]\nany = twice_blocks\n")
    (folder / "my_blocks.py").unlink()
    assert python(SEES, folder, PYTHONPATH=os.pathsep.join([str(installed), *sys.path])).splitlines()[-1] == "Twice"


NO_FILE = "there is no such file in {folder}, and no installed module"
TAKEN = "{folder}/code.py has the name of another module, {code}, which Python imports by that name: rename the file"


@pytest.mark.parametrize(
    ("named", "text", "reason"),
    [
        ("absent", None, NO_FILE),
        *further(("absent.py", None, NO_FILE), ("other/my_blocks.py", None, NO_FILE), ("code.py", None, TAKEN)),
        (
            "my-blocks.py",
            None,
            "'my-blocks' is no name that Python can import: rename the file, to letters, digits and underscores",
        ),
        ("code", None, TAKEN),
        ("package/__init__.py", None, "it is a package: name its folder, package"),
        (
            "my_blocks",
            "import nothing_at_all",
            "ModuleNotFoundError: No module named 'nothing_at_all' ({folder}/"
            "my_blocks.py, line 1: import nothing_at_all)",
        ),
        (
            "my_blocks",
            "\n\nclass A:\n    size = {}['b']\n",
            "KeyError: 'b' ({folder}/my_blocks.py, line 4: size = {}['b'])",
        ),
        ("my_blocks", "def f(:\n", "SyntaxError: invalid syntax ({folder}/my_blocks.py, line 1: def f(:)"),
        (
            "my_blocks",
            "raise SystemExit('usage')",
            "SystemExit: usage ({folder}/my_blocks.py, line 1: raise SystemExit('usage'))",
        ),
        (
            "my_blocks",
            BLOCKS.replace("Twice", "SPPF"),
            "ConfigError: register SPPF: Ultralytics has that name already; write name= with another, or override=True "
            "({folder}/my_blocks.py, line 5: @yolo_focal.register)",
        ),
    ],
)
def test_what_cannot_be_imported_is_a_line_and_the_end_says_so(
    named: str, text: str | None, reason: str, folder: Path
) -> None:
    (folder / "code.py").write_text(BLOCKS)
    (folder / "my-blocks.py").write_text(BLOCKS)
    if text is not None:
        (folder / "my_blocks.py").write_text(text)
    import code

    reason = reason.replace("{folder}", str(folder)).replace("{code}", str(code.__file__))
    script = folder / "sub" / "script.py"
    script.parent.mkdir()
    script.write_text(
        "from ultralytics import YOLO\nYOLO('yolov8n-focal.yaml')\nprint('built')\n"
        "try:\n    YOLO('tiny.yaml')\nexcept KeyError as error:\n    print(error)\n"
    )
    lines = run(sys.executable, script, cwd=folder, **{MODULES: named}).stdout.splitlines()
    assert [line for line in lines if MODULES in line or line == "built"] == [
        f"yolo-focal: {MODULES}: {named}: {reason}",
        "built",
        f"tiny.yaml, row 2: there is no module called Twice, and what may register it failed: {MODULES}: {named}: "
        f"{reason}",
    ]


@pytest.mark.parametrize("named", ["test", "my_blocks"])
def test_a_module_that_registers_nothing_is_named(named: str, folder: Path) -> None:
    (folder / "my_blocks.py").write_text("class Twice: ...")
    import test

    found = test.__path__[0] if named == "test" else folder / "my_blocks.py"
    script = folder / "sub" / "script.py"
    script.parent.mkdir()
    script.write_text("from ultralytics import YOLO\nYOLO('yolov8n-focal.yaml')")
    assert warnings_of(run(sys.executable, script, cwd=folder, **{MODULES: named}).stdout) == [
        f"yolo-focal: {MODULES}: {named}: it was imported from {found} and registers nothing; write "
        "@yolo_focal.register above a class in it, or the path of the file that is meant"
    ]


MIXED = f"""{BLOCKS}
@yolo_focal.register
class FocalModulation(Twice):
    pass

@yolo_focal.register(name="SPPF")
class Pool(Twice):
    pass

@yolo_focal.register
class Last(Twice):
    pass
"""


def test_a_refused_line_leaves_the_others_of_its_file(folder: Path) -> None:
    (folder / "my_blocks.py").write_text(MIXED)
    write(folder, [-1, 1, "Last", []])
    out = python(SEES, folder, **{MODULES: "my_blocks"})
    first, second = (f"{folder}/my_blocks.py, line {line}" for line in (14, 18))
    assert warnings_of(out) == [
        f"yolo-focal: {MODULES}: my_blocks: ConfigError: register FocalModulation: yolo_focal.focal.FocalModulation "
        "has that name already; write name= with another, or override=True for the rows of your own YAML files "
        f"({first}: @yolo_focal.register); ConfigError: register SPPF: Ultralytics has that name already; write name= "
        "with another, or override=True "
        f'({second}: @yolo_focal.register(name="SPPF"))'
    ]
    assert out.splitlines()[-1] == "Last"
    write(folder, [-1, 1, "FocalModulation", []])  # not the package's: the file has one of that name
    out = python(SEES, folder, check=False, **{MODULES: "my_blocks"})
    assert out.splitlines()[-1] == (
        "yolo_focal.errors.ConfigError: tiny.yaml, row 2: FocalModulation is not the user's own, which could not be "
        "registered: ConfigError: register FocalModulation: yolo_focal.focal.FocalModulation has that name already; "
        "write name= with another, or override=True for the rows of your own YAML files "
        f"({first}: @yolo_focal.register)"
    )


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


def test_a_file_that_was_mended_is_loaded_by_the_next_model(folder: Path) -> None:
    code = (
        "import pathlib; from ultralytics import YOLO\n"
        "text = pathlib.Path('my_blocks.py').read_text(); pathlib.Path('my_blocks.py').write_text('1 / 0')\n"
        "try:\n    YOLO('tiny.yaml')\n"
        "except KeyError:\n    pathlib.Path('my_blocks.py').write_text(text + '# mended')\n"
        f"{SEES}"
    )
    out = python(code, folder, PYTHONDONTWRITEBYTECODE="1", **{MODULES: "my_blocks"})
    assert out.splitlines()[-1] == "Twice"
    assert len(warnings_of(out)) == 1


def test_the_page_is_right(tmp_path: Path) -> None:
    page = (REPO / "docs" / "own-modules.md").read_text(encoding="utf-8")
    block, rule = re.findall(r"```python\n(.*?)```", page, re.DOTALL)[:2]
    (tmp_path / "my_blocks.py").write_text(
        f"{block}\n\n{rule}\nyolo_focal.register(nn.Conv2d, name='Wide', channels=rule)"
    )
    for row, built in (([-1, 1, "Residual", [5]], "Residual"), ([-1, 1, "Wide", [40, 1]], "Conv2d")):
        write(tmp_path, row)
        assert python(SEES, tmp_path, **{MODULES: "my_blocks"}).splitlines()[-1] == built
