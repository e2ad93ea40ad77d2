"""A user's files of modules in child processes: they have what the parent has, from the very same files."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest
from blocks import MODULES, SEES, warnings_of, write
from support import python, run

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
