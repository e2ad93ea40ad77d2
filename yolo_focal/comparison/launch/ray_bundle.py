"""Packs what a run needs to go on, or all of it, so that another machine takes it over whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from yolo_focal.comparison.store.files import names_in_manifest, write_manifest
from yolo_focal.comparison.store.run_folder import (
    BEST,
    LOG,
    RESULT,
    SNAPSHOTS,
    TASK,
    TEST,
    TIMES,
    training_folder,
    validation_files,
)
from yolo_focal.files import whole


def pack_to_go_on(folder: Path, snapshot: Path, bundle: Path) -> None:
    """Pack what a run that is in progress goes on with elsewhere.

    Args:
        folder: The run's folder.
        snapshot: Its last snapshot.
        bundle: A new folder beside it, on the same file system.

    Raises:
        FileNotFoundError: The run has meanwhile replaced the snapshot by another.
    """
    _pack(folder, [*snapshot.iterdir(), *validation_files(folder), folder / TIMES, folder / LOG], bundle)


def pack_whole(folder: Path, bundle: Path) -> None:
    """Pack all that a run whose process has ended has left, but its task and its lock."""
    files = [file for file in folder.rglob("*") if file.is_file()]
    _pack(folder, [file for file in files if file.name != TASK and not file.name.startswith(".")], bundle)


def unpack(bundle: Path, folder: Path) -> bool:
    """Put what was packed into a run's folder in the place of what it has; return False if the bundle is not whole.

    The result, without which a run has not finished, is put there last.
    """
    names = names_in_manifest(bundle)
    if names is None:
        return False
    folder.mkdir(parents=True, exist_ok=True)
    for remains in (SNAPSHOTS, "validations", BEST, TEST, TIMES, training_folder(folder).name):
        place = folder / remains
        shutil.rmtree(place) if place.is_dir() else place.unlink(missing_ok=True)
    for name in sorted(names, key=lambda name: name == RESULT):
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        with whole(place) as unfinished:
            shutil.copyfile(bundle / name, unfinished)
    return True


def _pack(folder: Path, files: Iterable[Path], bundle: Path) -> None:
    for file in files:
        place = bundle / file.relative_to(folder)
        place.parent.mkdir(parents=True, exist_ok=True)
        # A link takes no time and stays when the run replaces the file; the log is written on where it is.
        if file.name == LOG:
            shutil.copyfile(file, place)
        else:
            os.link(file, place)
    write_manifest(bundle)
