"""A user's files of modules that cannot be imported or register nothing: a line names each, until it is mended."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from blocks import BLOCKS, MODULES, SEES, warnings_of, write
from support import further, python, run

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
