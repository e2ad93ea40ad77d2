"""Lets one process at a time work in a folder, on this machine or on others that share it."""

from __future__ import annotations

import contextlib
import os
import platform
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from yolo_focal.comparison.store.files import read_json, write_json
from yolo_focal.errors import ConfigError

_LOCK, _OWNER = ".lock", ".lock.json"
_MOMENT = 1.0  # seconds; `holder` may hold the lock for less


@contextlib.contextmanager
def locked(folder: Path, wait: float = _MOMENT) -> Iterator[None]:
    """Hold a folder's lock, which the operating system releases when the process ends, however it does.

    Args:
        folder: The folder; it is created.
        wait: Seconds to wait for another owner to finish.

    Raises:
        ConfigError: Another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = _lock(folder)
    try:
        lock.acquire(timeout=wait)
    except Timeout:
        raise ConfigError(f"{folder}: {_owner(folder)}; wait until it ends, or write name= with another name") from None
    try:
        write_json(folder / _OWNER, {"host": platform.node(), "pid": os.getpid(), "since": time.time()})
        yield
    finally:
        (folder / _OWNER).unlink(missing_ok=True)
        lock.release()


def holder(folder: Path) -> str | None:
    """Return who holds a folder's lock, in words; None if nobody does."""
    if not (folder / _LOCK).exists():
        return None
    try:
        with _lock(folder).acquire(timeout=0):
            return None
    except Timeout:
        return _owner(folder)


def _lock(folder: Path) -> FileLock:
    return FileLock(folder / _LOCK, thread_local=False)  # it may be released by another thread


def _owner(folder: Path) -> str:
    owner: Any = read_json(folder / _OWNER)
    if not isinstance(owner, dict):
        return "another process is working there"
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(owner.get("since", 0)))
    return f"process {owner.get('pid')} on {owner.get('host')} has been working there since {since}"
