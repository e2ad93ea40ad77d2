"""The environment variables that the package reads and writes; imports nothing of the package."""

from __future__ import annotations

import os

AUTOLOAD = "YOLO_FOCAL_AUTOLOAD"  # 0, false, no or off: the hook does not start by itself
MODULES = "YOLO_FOCAL_MODULES"  # the files and modules that register a user's modules, separated by commas

# Written for child processes, in JSON.
FILES = "_YOLO_FOCAL_FILES"  # import name -> the file or package folder that this process imported it from
REGISTERED = "_YOLO_FOCAL_REGISTERED"  # what this process has registered


def is_switched_off() -> bool:
    """Return whether `YOLO_FOCAL_AUTOLOAD` switches the hook off."""
    return os.environ.get(AUTOLOAD, "").strip().lower() in {"0", "false", "no", "off"}
