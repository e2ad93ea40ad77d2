"""Forks of Ultralytics, whose modules the installed release gets."""

from __future__ import annotations

from yolo_focal.hook.forks.backbones import BackboneMap
from yolo_focal.hook.forks.fork import FROM_FORK, Fork, current, install, is_fork, uninstall, use
from yolo_focal.hook.forks.loading import PACKAGE

__all__ = ["FROM_FORK", "PACKAGE", "BackboneMap", "Fork", "current", "install", "is_fork", "uninstall", "use"]
