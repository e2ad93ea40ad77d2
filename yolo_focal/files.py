"""Writes files that are either complete or absent, also after a power failure."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def whole(file: Path) -> Iterator[Path]:
    """Give a temporary file in the same folder to write, which then takes a file's place.

    If writing it fails, what was there before stays.

    Args:
        file: The file; its folder exists.
    """
    temporary = file.with_name(f".{file.name}.{os.getpid()}.unfinished")
    try:
        yield temporary
        with temporary.open("rb+") as opened:
            os.fsync(opened.fileno())
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(file.parent)


def sync_folder(folder: Path) -> None:
    """Write a folder's list of names to the disk, where the system has a way to."""
    if not hasattr(os, "O_DIRECTORY"):  # Windows
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
