"""Runs a command in an environment of its own, for the scripts that try releases."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path


def output(command: Sequence[object], folder: Path, env: Mapping[str, str]) -> str:
    """Run a command in a folder and return what it prints.

    Raises:
        RuntimeError: It failed; the message is the last line that it has printed.
    """
    process = subprocess.run(
        [str(part) for part in command],
        cwd=folder,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if process.returncode:
        lines = [line.strip() for line in process.stdout.splitlines() if line.strip()]
        raise RuntimeError((lines or ["no output"])[-1])
    return process.stdout
