"""The package's structure: the contracts of pyproject.toml, and how much a file and a folder may hold."""

from __future__ import annotations

import re
import shutil
import sysconfig
from collections import Counter
from pathlib import Path

import pytest
from support import REPO, python, run

LINT = Path(sysconfig.get_path("scripts")) / "lint-imports"


def lint(folder: Path, check: bool = True) -> str:
    """Check the contracts of the package in a folder, whatever else is installed."""
    return run(LINT, "--no-cache", "--no-logo", cwd=folder, check=check, PYTHONPATH=str(folder)).stdout


def test_the_contracts_hold() -> None:
    assert "Contracts: 4 kept, 0 broken." in lint(REPO)


@pytest.mark.parametrize(
    ("file", "line", "contract", "reason"),
    [
        (
            "focal/float16.py",
            "import ultralytics",
            "What the modules compute knows nothing of Ultralytics",
            "yolo_focal.focal.float16 -> ultralytics",
        ),
        (
            "hook/configs.py",
            "from yolo_focal.twin import graft",
            "Arrows run one way",
            "yolo_focal.hook.configs -> yolo_focal.twin.graft",
        ),
        (
            "environment.py",
            "from yolo_focal import errors",
            "Arrows run one way",
            "yolo_focal.environment -> yolo_focal.errors",
        ),
        (
            "focal/float16.py",
            "from yolo_focal.focal import modulation",
            "No files import each other in a circle",
            "yolo_focal.focal",
        ),
        (
            "comparison/store/files.py",
            "from yolo_focal.comparison.report import i18n",
            "A comparison's folders import one way",
            "yolo_focal.comparison.store.files -> yolo_focal.comparison.report.i18n",
        ),
        ("another.py", "", "Arrows run one way", "yolo_focal.another"),
    ],
)
def test_what_breaks_a_contract_is_named(tmp_path: Path, file: str, line: str, contract: str, reason: str) -> None:
    shutil.copytree(REPO / "yolo_focal", tmp_path / "yolo_focal", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(REPO / "pyproject.toml", tmp_path)
    with (tmp_path / "yolo_focal" / file).open("a", encoding="utf-8") as opened:
        opened.write(f"\n{line}\n")
    printed = lint(tmp_path, check=False)
    assert f"{contract} BROKEN" in printed
    assert reason in printed


@pytest.mark.parametrize("folder", ["shapes", "twin", "visualization"])
def test_a_folder_lists_what_others_use(folder: str, tmp_path: Path) -> None:
    imports = re.compile(rf"^ *from yolo_focal\.{folder}(?:\.(\w+))? import ([\w, ]+)", re.MULTILINE)
    files = (file for part in ("yolo_focal", "scripts") for file in (REPO / part).rglob("*.py"))
    others = [file.read_text("utf-8") for file in files if file.parent != REPO / "yolo_focal" / folder]
    used = {
        name
        for text in others
        for module, names in imports.findall(text)
        for name in ([module] if module else re.findall(r"\w+", names))
    }
    code = f"from yolo_focal.{folder} import *; print(*sorted(name for name in globals() if name[0] != '_'))"
    listed = python(code, tmp_path).split()
    assert used <= {*listed}


def test_no_file_has_more_than_300_lines_and_no_folder_more_than_16_modules() -> None:
    files = [file for part in ("yolo_focal", "scripts", "tests") for file in (REPO / part).rglob("*.py")]
    lines = {file: len(file.read_text("utf-8").splitlines()) for file in files}
    modules = Counter(file.parent for file in files if file.name != "__init__.py")
    assert {file.relative_to(REPO).as_posix(): count for file, count in lines.items() if count > 300} == {}
    assert {folder.relative_to(REPO).as_posix(): count for folder, count in modules.items() if count > 16} == {}
