"""Loads trained checkpoints."""

from __future__ import annotations

from typing import Any

from ultralytics import YOLO

from yolo_focal.errors import ConfigError


def load(model: str) -> Any:
    """Load a checkpoint as Ultralytics' `YOLO`.

    Args:
        model: Its path, or the name of one that Ultralytics downloads.

    Raises:
        ConfigError: There is no such file.
    """
    try:
        return YOLO(model)
    except FileNotFoundError:
        raise ConfigError(
            f"model={model}: there is no such file; write a checkpoint, such as runs/detect/train/weights/best.pt"
        ) from None
