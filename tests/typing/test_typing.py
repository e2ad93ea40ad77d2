"""`py.typed` is honest: strict type checkers accept a file with every public name, and find a user's mistakes."""

from __future__ import annotations

import ast
import json
import re
import shutil
import sys
import sysconfig
from pathlib import Path

import pytest
from support import REPO, run

import yolo_focal

HERE = Path(__file__).parent
WRONG = [
    number
    for number, line in enumerate((HERE / "wrong.py").read_text("utf-8").splitlines(), 1)
    if line.endswith("  # wrong")
]


def test_the_file_uses_every_public_name() -> None:
    tree = ast.parse((HERE / "public.py").read_text("utf-8"))
    used = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "yolo_focal"
    }
    assert used == set(yolo_focal.__all__)


@pytest.mark.slow
def test_mypy_in_strict_mode(tmp_path: Path) -> None:
    for name in ("public.py", "wrong.py"):
        shutil.copy(HERE / name, tmp_path)
    # Errors in files of the package are not a user's to see: it is installed, and only searched for here.
    command = (sys.executable, "-m", "mypy", "--strict", "--config-file=", "--follow-imports=silent", "--no-pretty")
    cache = f"--cache-dir={REPO / '.mypy_cache' / 'typing'}"
    done = run(*command, cache, "public.py", "wrong.py", cwd=tmp_path, check=False, MYPYPATH=str(REPO))
    found = re.findall(r"^(\w+\.py):(\d+): error", done.stdout, re.MULTILINE)
    assert [line for file, line in found if file == "public.py"] == [], done.stdout
    assert sorted({int(line) for file, line in found if file == "wrong.py"}) == WRONG, done.stdout


@pytest.mark.slow
def test_pyright_in_strict_mode(tmp_path: Path) -> None:
    pyright = Path(sysconfig.get_path("scripts")) / "pyright"
    if not pyright.exists():
        pytest.skip("pyright is not installed")
    for name in ("public.py", "wrong.py"):
        shutil.copy(HERE / name, tmp_path)
    options = {"typeCheckingMode": "strict", "extraPaths": [str(REPO)], "include": ["public.py", "wrong.py"]}
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(options), encoding="utf-8")
    done = run(pyright, "--outputjson", f"--pythonpath={sys.executable}", cwd=tmp_path, check=False)
    found = json.loads(done.stdout[done.stdout.index("{") :])["generalDiagnostics"]
    errors = [(Path(one["file"]).name, one["range"]["start"]["line"] + 1, one["message"]) for one in found]
    assert [error for error in errors if error[0] == "public.py"] == []
    assert sorted({line for file, line, _ in errors if file == "wrong.py"}) == WRONG, errors
