"""FocalModulation for Ultralytics YOLO, with a hook that registers it in the stock `yolo` command.

Importing this package imports neither torch nor ultralytics. It arms the hook, which patches Ultralytics' model parser
when Ultralytics is imported, or immediately if it is already imported.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from yolo_focal import _startup

if TYPE_CHECKING:
    from yolo_focal.comparison.compare import compare
    from yolo_focal.errors import ConfigError, UnsupportedUltralyticsError, YoloFocalError
    from yolo_focal.focal import C2Focal, C3k2Focal, FocalModulation
    from yolo_focal.hook.modules.channels import Scaling
    from yolo_focal.hook.modules.registration import register
    from yolo_focal.hook.patch import activate, deactivate, is_active
    from yolo_focal.visualization.visualizer import visualize

__version__: str
__all__ = [
    "C2Focal",
    "C3k2Focal",
    "ConfigError",
    "FocalModulation",
    "Scaling",
    "UnsupportedUltralyticsError",
    "YoloFocalError",
    "__version__",
    "activate",
    "compare",
    "deactivate",
    "is_active",
    "register",
    "visualize",
]

_MODULES = {
    "C2Focal": "focal",
    "C3k2Focal": "focal",
    "ConfigError": "errors",
    "FocalModulation": "focal",
    "Scaling": "hook.modules.channels",
    "UnsupportedUltralyticsError": "errors",
    "YoloFocalError": "errors",
    "activate": "hook.patch",
    "compare": "comparison.compare",
    "deactivate": "hook.patch",
    "is_active": "hook.patch",
    "register": "hook.modules.registration",
    "visualize": "visualization.visualizer",
}


if not TYPE_CHECKING:  # a type checker must not take every name for one that there is

    def __getattr__(name: str) -> Any:  # PEP 562: modules that need torch are imported on first access
        if name in _MODULES:
            return getattr(importlib.import_module(f"yolo_focal.{_MODULES[name]}"), name)
        if name == "__version__":
            from importlib.metadata import version

            return version("yolo-focal")
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)


_startup.arm()
