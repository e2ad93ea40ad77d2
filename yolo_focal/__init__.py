"""FocalModulation for Ultralytics YOLO, and a hook that makes the stock `yolo` command know it.

Importing this package imports neither torch nor ultralytics: it arms the hook that patches Ultralytics' model parser
as soon as Ultralytics itself is imported (at once where it already is).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from yolo_focal import _startup

if TYPE_CHECKING:
    from yolo_focal.comparison.compare import compare
    from yolo_focal.errors import ConfigError, UnsupportedUltralyticsError, YoloFocalError
    from yolo_focal.focal import FocalModulation
    from yolo_focal.parser import activate, deactivate, is_active
    from yolo_focal.registry import Scaling, register
    from yolo_focal.visualizer import visualize

__version__: str
__all__ = [
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

_HOME = {
    "ConfigError": "errors",
    "FocalModulation": "focal",
    "Scaling": "registry",
    "UnsupportedUltralyticsError": "errors",
    "YoloFocalError": "errors",
    "activate": "parser",
    "compare": "comparison.compare",
    "deactivate": "parser",
    "is_active": "parser",
    "register": "registry",
    "visualize": "visualizer",
}


def __getattr__(name: str) -> Any:  # PEP 562: what needs torch is imported when it is first asked for
    if name in _HOME:
        return getattr(importlib.import_module(f"yolo_focal.{_HOME[name]}"), name)
    if name == "__version__":
        from importlib.metadata import version

        return version("yolo-focal")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)


_startup.arm()
