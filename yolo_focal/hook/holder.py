"""Keeps a module's own attributes apart from those that Ultralytics sets on every layer."""

from __future__ import annotations

from typing import Any

from torch import nn

# Index, indices of the input layers, type and number of parameters.
RESERVED = frozenset({"i", "f", "type", "np"})


class Holder(nn.Module):
    """A layer that calls another module, which may have attributes called `i`, `f`, `type` and `np`.

    Ultralytics sets these on every layer that it builds. Here they are set on the holder. In a state dict the module's
    names follow `module.`. Checkpoints name this class by its import path.

    Args:
        module: The module to call.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Return what the module returns."""
        return self.module(*args, **kwargs)


def hold(module: nn.Module) -> nn.Module:
    """Return a module, or a holder of it if it or its class has an attribute that Ultralytics sets on every layer."""
    names = {*vars(module), *module._modules, *module._parameters, *module._buffers}
    for base in type(module).__mro__:
        if base.__module__.partition(".")[0] not in {"torch", "builtins", "ultralytics"}:
            names |= vars(base).keys()
    return Holder(module) if RESERVED & names else module
