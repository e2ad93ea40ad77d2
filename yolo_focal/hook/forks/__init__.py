"""Forks of Ultralytics, whose modules the installed release gets."""

from __future__ import annotations

from yolo_focal.hook.forks.fork import FROM_FORK, Fork, current, install, is_fork, uninstall, use

__all__ = ["FROM_FORK", "Fork", "current", "install", "is_fork", "uninstall", "use"]
