"""Arms the hook, and nothing else.

torch calls `arm` while it is being imported (entry point group `torch.backends`), so every process that can build a
model has it: the `yolo` command, data-parallel workers, spawned data loaders. An exception here would make
`import torch` fail, so none leaves this file.
"""

from __future__ import annotations

import logging
import os
from types import ModuleType

SWITCH = "YOLO_FOCAL_AUTOLOAD"
_LOGGER = logging.getLogger("yolo_focal")
_armed = False


def arm() -> None:
    """Patch Ultralytics' model parser as soon as `ultralytics.nn.tasks` is imported, or at once where it already is.

    Does nothing where the environment has `YOLO_FOCAL_AUTOLOAD=0`. Calling it again is harmless.
    """
    global _armed
    if _armed or os.environ.get(SWITCH) == "0":
        return
    _armed = True
    try:
        from wrapt import register_post_import_hook

        register_post_import_hook(_on_import, "ultralytics.nn.tasks")
    except Exception as error:
        _warn(error)


def _on_import(module: ModuleType) -> None:  # noqa: ARG001  wrapt passes the module that was imported
    try:
        from yolo_focal.parser import activate

        activate()
    except Exception as error:
        _warn(error)


def _warn(error: Exception) -> None:
    # A log record and not warnings.warn, which `python -W error` turns into an exception.
    reason = " ".join(str(error).split())
    _LOGGER.warning(f"yolo-focal is off: {type(error).__name__}: {reason} ({SWITCH}=0 silences this line)")
