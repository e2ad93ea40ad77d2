"""Checks of what modules are given: one error that names the argument, what was given and what to write instead."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


def integer(name: str, value: Any, at_least: int) -> int:
    """Return an integer argument.

    Raises:
        TypeError: It is no integer.
        ValueError: It is too small.
    """
    try:
        if isinstance(value, bool):
            raise TypeError
        result = operator.index(value)
    except TypeError:
        raise TypeError(f"{name}={value!r}: write an integer of at least {at_least}") from None
    if result < at_least:
        raise ValueError(f"{name}={value!r}: write an integer of at least {at_least}")
    return result


def odd(name: str, value: Any, at_least: int = 1) -> int:
    """Return a kernel size, which must be odd so that the map keeps its height and width.

    Raises:
        TypeError: It is no integer.
        ValueError: It is even or too small.
    """
    size = integer(name, value, at_least)
    if size % 2 == 0:
        raise ValueError(f"{name}={size}: a kernel must be odd; write {size - 1} or {size + 1}")
    return size


def divisor(name: str, value: Any, total: int, what: str) -> int:
    """Return a number of parts that `total` divides into.

    Args:
        name: The argument's name.
        value: The number of parts.
        total: What is divided.
        what: What is divided, in words, such as "channels".

    Raises:
        TypeError: It is no integer.
        ValueError: It is less than 1, or `total` does not divide into so many equal parts.
    """
    parts = integer(name, value, at_least=1)
    if total % parts:
        close = min((part for part in range(1, total + 1) if total % part == 0), key=lambda part: abs(part - parts))
        raise ValueError(f"{name}={parts}: {total} {what} do not divide into {parts} equal parts; write {close}")
    return parts


def number(name: str, value: Any, suits: Callable[[float], bool], expected: str) -> float:
    """Return a number.

    Args:
        name: The argument's name.
        value: The number.
        suits: Returns whether it is in the argument's range; of NaN, False.
        expected: What to write instead.

    Raises:
        TypeError: It is no number.
        ValueError: It is out of that range.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name}={value!r}: {expected}")
    if not suits(value):
        raise ValueError(f"{name}={value!r}: {expected}")
    return float(value)


def positive(name: str, value: Any, example: float) -> float:
    """Return a number above 0.

    Raises:
        TypeError: It is no number.
        ValueError: It is not above 0, or not finite.
    """
    return number(name, value, lambda x: 0 < x < float("inf"), f"write a number above 0, such as {example}")


def probability(name: str, value: Any) -> float:
    """Return a probability, from 0 up to but not including 1.

    Raises:
        TypeError: It is no number.
        ValueError: It is out of that range.
    """
    return number(name, value, lambda x: 0 <= x < 1, "write a number from 0 up to but not including 1, such as 0.1")


def flag(name: str, value: Any) -> bool:
    """Return an argument that is True or False.

    Raises:
        TypeError: It is neither.
    """
    if not isinstance(value, bool):
        raise TypeError(f"{name}={value!r}: write True or False")
    return value


def check_map(module: str, x: Tensor, first: nn.Module, groups: int = 1) -> None:
    """Check that an input is a feature map `(B, C, H, W)` of a floating-point dtype, with as many channels as are read.

    A tensor is checked, and not what stands for one while operations are recorded: a trace would hold the result as a
    constant, and torch.fx has no value to decide by.

    Args:
        module: The module's name.
        x: The input.
        first: The layer that reads it. Its channels are those of its weight, which pruning may have shrunk; a layer
            without a weight reads any number.
        groups: Number of groups of channels, each of which the layer reads.

    Raises:
        ValueError: It has another shape.
        TypeError: It has another dtype.
    """
    if not isinstance(x, Tensor) or torch.jit.is_tracing():  # type: ignore[attr-defined,no-untyped-call]
        return
    weight = getattr(first, "weight", None)
    channels = "C" if weight is None else weight.shape[1] * groups * getattr(first, "groups", 1)
    if x.dim() != 4 or channels not in ("C", x.shape[1]):
        shape = ", ".join(str(size) for size in x.shape)
        raise ValueError(f"{module}: expected an input of shape (B, {channels}, H, W), got ({shape})")
    if not x.is_floating_point():
        raise TypeError(f"{module}: expected an input of a floating-point dtype, got {x.dtype}")


def is_traced() -> bool:
    """Return whether operations are recorded, for an exporter or a compiler; torch 2.0 has no `torch.compiler`."""
    tracing: bool = torch.jit.is_tracing()  # type: ignore[attr-defined,no-untyped-call]
    return tracing or (hasattr(torch, "compiler") and torch.compiler.is_compiling())
