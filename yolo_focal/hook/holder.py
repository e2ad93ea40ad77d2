"""Keeps a module's own attributes apart from those that Ultralytics sets on every layer."""

from __future__ import annotations

import dis
import functools
from collections.abc import Iterator
from types import CodeType, FunctionType
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
    """Return a module, or a holder of it if it has, or will set, an attribute that Ultralytics sets on every layer."""
    own = {*vars(module), *module._modules, *module._parameters, *module._buffers}
    return Holder(module) if RESERVED & (own | _names_of_class(type(module))) else module  # type: ignore[arg-type]


@functools.cache
def _names_of_class(cls: type[nn.Module]) -> frozenset[str]:
    """Return the reserved names that a class defines or that its methods assign, those of torch's own classes aside."""
    names: set[str] = set()
    for base in cls.__mro__:
        if base.__module__.partition(".")[0] in {"torch", "builtins"}:
            continue
        names.update(RESERVED & vars(base).keys())
        for method in vars(base).values():
            if isinstance(method, FunctionType):
                names.update(_assigned(method.__code__))
    return frozenset(names)


def _assigned(code: CodeType) -> Iterator[str]:
    for instruction in dis.get_instructions(code):
        if instruction.opname == "STORE_ATTR" and instruction.argval in RESERVED:
            yield instruction.argval
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _assigned(constant)
