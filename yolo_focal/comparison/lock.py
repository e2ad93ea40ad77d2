"""Lets one process at a time work in a folder, on this machine or on others that share it."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from yolo_focal.comparison.files import read_json
from yolo_focal.errors import ConfigError

_FILE = ".lock.json"
_BEAT = 5.0  # seconds between two signs of life
_SILENT = 60.0  # seconds without one, after which a process on another machine is taken for dead


@contextlib.contextmanager
def locked(folder: Path, wait: float = 0.0) -> Iterator[None]:
    """Hold a folder's lock: a file that names its owner and whose time of change is renewed every few seconds.

    A lock whose owner is dead is taken over: a process of this machine that no longer exists, or one of another machine
    that has given no sign of life for a minute.

    Args:
        folder: The folder; it is created.
        wait: Seconds to wait for another owner to finish.

    Raises:
        ConfigError: Another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / _FILE
    deadline = time.monotonic() + wait
    while not _create(file):
        owner = read_json(file)
        if _is_dead(owner, file):
            _remove(file, owner)
        elif time.monotonic() >= deadline:
            raise ConfigError(f"{folder}: {_describe(owner)}; wait until it ends, or write name= with another name")
        else:
            time.sleep(0.1)
    stop = threading.Event()
    beats = threading.Thread(target=_beat, args=(file, stop), daemon=True)
    beats.start()
    try:
        yield
    finally:
        stop.set()
        beats.join()
        file.unlink(missing_ok=True)


def holder(folder: Path) -> str | None:
    """Return who holds a folder's lock, in words; None if nobody does or its owner is dead."""
    file = folder / _FILE
    owner = read_json(file)
    return _describe(owner) if file.exists() and not _is_dead(owner, file) else None


def _create(file: Path) -> bool:
    process = psutil.Process()
    owner = {"host": platform.node(), "pid": process.pid, "began": process.create_time(), "since": time.time()}
    # Linked into its place when it is written: another process never reads a file that is empty.
    temporary = file.with_name(f"{file.name}.{platform.node()}.{process.pid}")
    temporary.write_text(json.dumps(owner), encoding="utf-8")
    try:
        os.link(temporary, file)
    except FileExistsError:
        return False
    except (AttributeError, OSError):  # a file system without links
        try:
            file.open("x", encoding="utf-8").write(temporary.read_text(encoding="utf-8"))
        except FileExistsError:
            return False
    finally:
        temporary.unlink()
    return True


def _is_dead(owner: Any, file: Path) -> bool:
    if isinstance(owner, dict) and owner.get("host") == platform.node():
        try:
            return bool(psutil.Process(owner["pid"]).create_time() != owner["began"])  # another one of that number
        except (psutil.NoSuchProcess, KeyError):
            return True
    return _age(file) > _SILENT


def _age(file: Path) -> float:
    """Return the seconds since a file was changed, by the clock of the file system that it is on."""
    probe = file.with_name(f"{file.name}.{platform.node()}.{os.getpid()}.now")
    try:
        probe.touch()
        return probe.stat().st_mtime - file.stat().st_mtime
    except FileNotFoundError:  # its owner has just removed it
        return 0.0
    finally:
        probe.unlink(missing_ok=True)


def _remove(file: Path, dead: Any) -> None:
    """Remove a dead process's lock, but not that of another process that has just taken it over."""
    aside = file.with_name(f"{file.name}.{platform.node()}.{os.getpid()}.dead")
    with contextlib.suppress(FileNotFoundError):
        file.rename(aside)
        if read_json(aside) == dead:
            aside.unlink()
        else:
            aside.rename(file)


def _beat(file: Path, stop: threading.Event) -> None:
    while not stop.wait(_BEAT):
        with contextlib.suppress(OSError):
            os.utime(file)


def _describe(owner: Any) -> str:
    if not isinstance(owner, dict):
        return "another process is working there"
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(owner.get("since", 0)))
    return f"process {owner.get('pid')} on {owner.get('host')} has been working there since {since}"
