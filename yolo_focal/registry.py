"""What is registered: which classes a row of a model YAML may name beyond Ultralytics' own."""

from __future__ import annotations

from torch import nn

from yolo_focal.focal import FocalModulation

MODULES: dict[str, type[nn.Module]] = {"FocalModulation": FocalModulation}


def is_registered(module: object) -> bool:
    """Whether `module` is one of the registered classes."""
    return module in MODULES.values()
