"""Reads one row of a model YAML that names a registered module, and says what is wrong with it where something is."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Sequence
from typing import Any

from torch import nn

from yolo_focal.errors import ConfigError


class Row:
    """A row's module, ready to be built: Ultralytics' parser calls it with the row's arguments.

    It prints as the class does, because the parser takes the layer's type from `str`.
    """

    def __init__(self, cls: type[nn.Module], where: str) -> None:
        self.cls = cls
        self.where = where

    def __str__(self) -> str:
        return str(self.cls)

    def __call__(self, dim: int, *args: Any) -> nn.Module:
        """Build the layer from positional arguments, the last of which may be a mapping of keyword arguments."""
        positional, keywords = _split(args)
        _check_names(self.cls, self.where, positional, keywords)
        try:
            return self.cls(dim, *positional, **keywords)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"{self.where}: {error}{_hint(args)}") from error


def read(
    cls: type[nn.Module], file: str, index: int, source: Any, args: Sequence[Any], channels: Sequence[int]
) -> tuple[int, Row, list[Any]]:
    """Resolve one row of a module that keeps its channels.

    Args:
        cls: The registered class that the row names.
        file: The config file, as the user named it.
        index: The row's number, counted as Ultralytics' model table does: from 0, through backbone and head.
        source: The row's `from`: the index of the one layer it reads, -1 for the previous one.
        args: The row's arguments.
        channels: Output channels of the layers so far.

    Returns:
        The row's output channels, what builds its layer, and the arguments to build it with.

    Raises:
        ConfigError: `source` is not the index of one earlier layer.
    """
    where = f"{file}, row {index} ({cls.__name__})"
    if isinstance(source, bool) or not isinstance(source, int):
        raise ConfigError(f"{where}: from={source!r}: it reads one layer; write one number, such as -1")
    if not -len(channels) <= source < len(channels):
        raise ConfigError(f"{where}: from={source!r}: there is no such layer before it; write -1 for the previous one")
    width = channels[source]
    return width, Row(cls, where), [width, *args]


def _split(args: Sequence[Any]) -> tuple[Sequence[Any], dict[str, Any]]:
    if args and isinstance(args[-1], dict):
        return args[:-1], args[-1]
    return args, {}


def _check_names(cls: type[nn.Module], where: str, positional: Sequence[Any], keywords: dict[str, Any]) -> None:
    _, *parameters = inspect.signature(cls).parameters.values()  # the first is the width, which the row does not give
    names = [p.name for p in parameters]
    by_position = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    if len(positional) > len(by_position):
        raise ConfigError(
            f"{where}: {len(positional)} arguments {list(positional)}: write at most {len(by_position)}, "
            f"in the order {', '.join(by_position)}{_hint(positional)}"
        )
    for name in keywords:
        if name not in names:
            close = difflib.get_close_matches(str(name), names, n=1)
            wanted = f"write {close[0]}" if close else f"write one of {', '.join(names)}"
            raise ConfigError(f"{where}: unknown argument {name}={keywords[name]!r}: {wanted}")
        if name in by_position[: len(positional)]:
            given = positional[by_position.index(name)]
            raise ConfigError(f"{where}: {name} is given twice, as {given!r} and as {keywords[name]!r}: write it once")


def _hint(args: Sequence[Any]) -> str:
    """What to write instead where the row still has the width that SPPF and Conv rows begin with."""
    if args and isinstance(args[0], int) and not isinstance(args[0], bool) and args[0] > 1:
        return f". {args[0]} looks like a width: this layer keeps the width of its input, write []"
    return ""
