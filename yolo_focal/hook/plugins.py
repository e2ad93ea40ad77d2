"""Imports the files in which modules are registered, and tells child processes to do the same."""

from __future__ import annotations

import importlib
import logging
import os
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

VARIABLE = "YOLO_FOCAL_MODULES"
GROUP = "yolo_focal.modules"
_FOLDERS = "_YOLO_FOCAL_FOLDERS"  # where the parent process found them: a child may run in another folder
_LOGGER = logging.getLogger("yolo_focal")

failures: dict[str, str] = {}  # what could not be imported -> why


def load() -> None:
    """Import what `YOLO_FOCAL_MODULES` lists and the entry points of the group `yolo_focal.modules`.

    What cannot be imported is said in a line of the log; everything else goes on.
    """
    for name in named():
        _load(f"{VARIABLE}: {name}", name)
    for point in advertised():
        _load(f"entry point {point.name} of {GROUP}: {point.value}", point.value.partition(":")[0])


def named() -> list[str]:
    """Return the modules that `YOLO_FOCAL_MODULES` lists."""
    return [name for name in (part.strip() for part in os.environ.get(VARIABLE, "").split(",")) if name]


def advertised() -> list[Any]:
    """Return the entry points of the group `yolo_focal.modules`."""
    points: Any = entry_points()
    return list(points.select(group=GROUP) if hasattr(points, "select") else points.get(GROUP, []))  # Python 3.9


def pass_on(name: str) -> None:
    """Let child processes import a module too, wherever they run."""
    if name not in named():
        os.environ[VARIABLE] = ",".join([*named(), name])
    top: Any = sys.modules.get(name.partition(".")[0])
    place = getattr(top, "__path__", None) or [getattr(top, "__file__", None)]
    if place[0] is not None:
        folder = str(Path(place[0]).resolve().parent)
        known = [one for one in os.environ.get(_FOLDERS, "").split(os.pathsep) if one]
        if folder not in known:
            os.environ[_FOLDERS] = os.pathsep.join([*known, folder])


def _load(what: str, name: str) -> None:
    try:
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name != name.partition(".")[0]:
                raise
            # The stock `yolo` does not look for modules where it is run.
            folders = [str(Path.cwd()), *os.environ.get(_FOLDERS, "").split(os.pathsep)]
            sys.path.extend(folder for folder in folders if folder and folder not in sys.path)
            importlib.import_module(name)
        failures.pop(what, None)
    except (Exception, SystemExit) as error:  # whatever a user's file raises, Ultralytics works on
        failures[what] = f"{type(error).__name__}: {' '.join(str(error).split())}"
        _LOGGER.warning(f"yolo-focal: {what} cannot be imported: {failures[what]}")
