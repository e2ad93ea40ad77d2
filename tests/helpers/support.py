"""What tests call: the commands that a user types, each in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

import pytest

REPO = Path(__file__).resolve().parents[2]
SETTINGS = Path(tempfile.mkdtemp(prefix="yolo-focal-tests-"))
YOLO = str(Path(sysconfig.get_path("scripts")) / "yolo")
COMMAND = str(Path(sysconfig.get_path("scripts")) / "yolo-focal")


def further(*cases: Any) -> list[Any]:
    """Cases of a table that only the slow suite runs: each costs a process, and the fast one has others like them."""
    return [pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=pytest.mark.slow) for case in cases]


def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of this session that all of its processes share."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


def environment(**env: str) -> dict[str, str]:
    """What a user's shell would hand to a process, with `env` set on top."""
    # Ultralytics asks for pytest's variables and then writes its runs elsewhere.
    return {**{k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}, **env}


def run(*command: str | Path, cwd: Path, check: bool = True, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a command as a user's shell would; `env` is set on top of the environment.

    Where `check` is set and the command fails, the test fails and shows what it printed.
    """
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=environment(**env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if check and done.returncode:
        pytest.fail(f"{' '.join(map(str, command))}: exit status {done.returncode}\n{done.stdout[-6000:]}")
    return done


def start(*command: str | Path, cwd: Path | None = None) -> subprocess.Popen[str]:
    """Start a command in a session of its own, to be interrupted or waited for; it prints to one pipe."""
    return subprocess.Popen(
        command,
        cwd=cwd,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def python(code: str, cwd: Path, check: bool = True, **env: str) -> str:
    """Run Python code in a fresh interpreter and return what it prints."""
    return run(sys.executable, "-c", code, cwd=cwd, check=check, **env).stdout
