"""What restricted checkpoint loading (`torch.load` with `weights_only=True`) may build."""

from __future__ import annotations

import sys
from collections.abc import Iterable

import torch
from torch import nn

from yolo_focal.hook.modules import children


def allow(*classes: type) -> None:
    """Allow classes in restricted checkpoint loading."""
    if hasattr(torch.serialization, "add_safe_globals"):  # torch 2.4 and later
        torch.serialization.add_safe_globals(list(classes))


def allow_layers_of(modules: Iterable[str]) -> None:
    """Allow the `nn.Module` classes that are defined in some modules, and in the user's files that this process knows.

    Args:
        modules: Import names of the modules that registered classes are defined in.
    """
    names = {*modules, *(name for name in list(sys.modules) if name.partition(".")[0] in children.files())}
    for name in names:
        for value in list(vars(sys.modules.get(name, object)).values()):
            if isinstance(value, type) and issubclass(value, nn.Module) and value.__module__ == name:
                allow(value)
