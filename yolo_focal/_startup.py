"""Arms the import hook that patches Ultralytics' model parser.

torch calls `arm` while it is imported (entry point group `torch.backends`), so the hook is armed in every process that
can build a model: the `yolo` command, data-parallel workers, spawned data loaders. An exception raised here would make
`import torch` fail, so every exception is caught and logged.
"""

from __future__ import annotations

import logging
import os
from types import ModuleType

from yolo_focal import environment

_LOGGER = logging.getLogger("yolo_focal")
_armed = False


def arm() -> None:
    """Patch Ultralytics' model parser when `ultralytics.nn.tasks` is imported, or immediately if it already is.

    Has no effect if the environment has `YOLO_FOCAL_AUTOLOAD=0` (or false, no, off), or if it was called before.
    """
    global _armed
    if _armed or environment.is_switched_off():
        return
    _armed = True
    try:
        from wrapt import register_post_import_hook

        register_post_import_hook(_on_import, "ultralytics.nn.tasks")
        register_post_import_hook(_on_import_of_checks, "ultralytics.utils.checks")
        if environment.FILES in os.environ:  # a child process, which may unpickle a user's class before anything else
            from yolo_focal.hook.modules import finder

            finder.install()
    except Exception as error:
        _warn(error)


def _on_import(module: ModuleType) -> None:  # noqa: ARG001  wrapt passes the module that was imported
    try:
        from yolo_focal.hook.patch import activate

        activate()
    except Exception as error:
        _warn(error)


def _on_import_of_checks(module: ModuleType) -> None:
    try:
        from yolo_focal.hook import configs

        module.check_file = configs.FoundEarly(module.check_file)  # type: ignore[attr-defined]
    except Exception as error:
        _warn(error)


def _warn(error: Exception) -> None:
    # A log record instead of warnings.warn, which `python -W error` turns into an exception.
    reason = " ".join(str(error).split())
    _LOGGER.warning(
        f"yolo-focal is off: {type(error).__name__}: {reason} ({environment.AUTOLOAD}=0 silences this line)"
    )
