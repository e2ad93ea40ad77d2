"""What child processes inherit: where a user's files are, and what is registered, in environment variables."""

from __future__ import annotations

import functools
import json
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from yolo_focal import environment

_lock = threading.Lock()


def tell_file(name: str, location: Path) -> None:
    """Make child processes import a top-level module from where this process did, wherever they run.

    Args:
        name: The module's import name.
        location: Its file, or the folder of a package.
    """
    with _lock:
        os.environ[environment.FILES] = json.dumps({**files(), name: str(location.resolve())})


def forget_file(name: str) -> None:
    """Take back what `tell_file` said of a module."""
    with _lock:
        os.environ[environment.FILES] = json.dumps({key: path for key, path in files().items() if key != name})


def files() -> Mapping[str, str]:
    """Return the location of each module that `tell_file` has named, here or in a parent process."""
    return _parsed_files(os.environ.get(environment.FILES, ""))


@functools.lru_cache(maxsize=1)  # every import asks
def _parsed_files(text: str) -> Mapping[str, str]:
    parsed: dict[str, str] = json.loads(text or "{}")
    return parsed


def tell_registration(name: str, options: Mapping[str, Any]) -> None:
    """Make child processes register a module under this name.

    Args:
        name: Its name in rows.
        options: What describes it; see `registry.describe`.
    """
    with _lock:
        os.environ[environment.REGISTERED] = json.dumps({**registrations(), name: dict(options)})


def registrations() -> dict[str, dict[str, Any]]:
    """Return what `tell_registration` has named, here or in a parent process."""
    parsed: dict[str, dict[str, Any]] = json.loads(os.environ.get(environment.REGISTERED) or "{}")
    return parsed
