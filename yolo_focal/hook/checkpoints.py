"""Loads trained checkpoints."""

from __future__ import annotations

from pickle import UnpicklingError
from typing import Any

from ultralytics import YOLO

from yolo_focal.errors import ConfigError, one_line


def load(model: str) -> Any:
    """Load a checkpoint as Ultralytics' `YOLO`.

    Args:
        model: Its path, or the name of one that Ultralytics downloads.

    Raises:
        ConfigError: There is no such file, or it is no checkpoint of a model that was built from a YAML.
    """
    try:
        yolo = YOLO(model)
        yolo.model.yaml["backbone"]
    except FileNotFoundError:
        raise ConfigError(
            f"model={model}: there is no such file; write a checkpoint, such as runs/detect/train/weights/best.pt"
        ) from None
    except (AttributeError, EOFError, KeyError, RuntimeError, TypeError, UnpicklingError) as error:
        raise ConfigError(
            f"model={model}: it cannot be loaded as a checkpoint of Ultralytics ({one_line(error)[:200]}); write one "
            "that `yolo train` has written, such as runs/detect/train/weights/best.pt"
        ) from error
    return yolo
