"""Reads one row of a model YAML that names a registered module, and says what is wrong with it where something is."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Sequence
from typing import Any

from torch import nn

from yolo_focal.errors import ConfigError
from yolo_focal.registry import Registered, Rule, Scaling, scale

# Ultralytics sets these on every layer that it builds: its index, what it reads, its type and its parameters' number.
_RESERVED = ("i", "f", "type", "np")


class Row:
    """A row's module, ready to be built: Ultralytics' parser calls it with the row's arguments.

    It prints as the class does, because the parser takes the layer's type from `str`.
    """

    def __init__(self, module: Registered, where: str) -> None:
        self.module = module
        self.where = where

    def __str__(self) -> str:
        return str(self.module.cls)

    def __call__(self, *args: Any) -> nn.Module:
        """Build the layer from positional arguments, the last of which may be a mapping of keyword arguments."""
        cls, given = self.module.cls, self.module.given
        positional, keywords = _split(args)
        _check_names(cls, self.where, given, positional[given:], keywords)
        try:
            layer = cls(*positional, **keywords)
        except Exception as error:  # whatever a constructor raises: the row is what its writer can mend
            raise ConfigError(f"{self.where}: {error}{_hint(args[given:]) if given == 1 else ''}") from error
        for kind in ("_modules", "_parameters", "_buffers"):
            for name in set(getattr(layer, kind)) & {*_RESERVED}:
                raise ConfigError(
                    f"{self.where}: it has a {kind.strip('_').rstrip('s')} called {name}, and Ultralytics sets "
                    f"{', '.join(_RESERVED)} on every layer; give it another name"
                )
        return layer


def check(file: str, index: int, row: Sequence[Any]) -> None:
    """Check what Ultralytics' parser takes for granted: four parts, a number of repeats, a list of arguments.

    Args:
        file: The config file, as the user named it.
        index: The row's number.
        row: The row.

    Raises:
        ConfigError: It is otherwise.
    """
    where = f"{file}, row {index} ({row[2]})"
    if len(row) != 4:
        raise ConfigError(f"{where}: {list(row)}: write four parts, [from, repeats, module, arguments]")
    repeats, args = row[1], row[3]
    if isinstance(repeats, bool) or not isinstance(repeats, int) or repeats < 1:
        raise ConfigError(f"{where}: repeats={repeats!r}: write a whole number from 1 on")
    if not isinstance(args, list):
        raise ConfigError(f"{where}: arguments {args!r}: write a list, such as []")


def read(
    module: Registered,
    file: str,
    index: int,
    row: Sequence[Any],
    args: Sequence[Any],
    channels: Sequence[int],
    scaling: Scaling,
    repeats: int,
) -> tuple[int, Row, list[Any], int]:
    """Resolve one row that names a registered module.

    Args:
        module: What the row names.
        file: The config file, as the user named it.
        index: The row's number, counted as Ultralytics' model table does: from 0, through backbone and head.
        row: The row: from, repeats, name, arguments.
        args: The row's arguments, resolved.
        channels: Output channels of the layers so far.
        scaling: Of the model.
        repeats: The row's repeats at the model's scale.

    Returns:
        The row's output channels, what builds its layer, the arguments to build it with, and how often.

    Raises:
        ConfigError: The row cannot be what it says; the message says which would be.
    """
    where = f"{file}, row {index} ({row[2]})"
    incoming = _incoming(where, row[0], channels, several=module.given == 0)
    positional, keywords = _split(args)
    width, given = _apply(module.rule, where, incoming, list(positional), scaling)
    if module.repeats:
        given.insert(module.given - 1, repeats)
        repeats = 1
    if repeats > 1 and width != incoming:
        raise ConfigError(
            f"{where}: repeats={row[1]}: it makes {width} channels of {incoming} and cannot follow itself; write 1"
        )
    return width, Row(module, where), [*given, *([keywords] if keywords else [])], repeats


def _apply(rule: Rule, where: str, incoming: Any, args: list[Any], scaling: Scaling) -> tuple[int, list[Any]]:
    try:
        result = rule(incoming, args, scaling)
    except Exception as error:
        raise ConfigError(f"{where}: {error if rule is scale else f'its channel rule raised {error!r}'}") from error
    try:
        width, given = result
        if isinstance(width, bool) or not isinstance(width, int) or width < 1:
            raise TypeError
        return width, [*given]
    except (TypeError, ValueError):
        wanted = "return the row's channels, a whole number, and the constructor's arguments, a list"
        raise ConfigError(f"{where}: its channel rule returned {result!r}; {wanted}") from None


def _incoming(where: str, source: Any, channels: Sequence[int], several: bool) -> Any:
    sources = source if several and isinstance(source, list) else [source]
    if not sources:
        raise ConfigError(f"{where}: from=[]: write the numbers of the layers that it reads, such as [-1, 6]")
    for one in sources:
        if isinstance(one, bool) or not isinstance(one, int):
            wanted = "write numbers of layers" if several else "it reads one layer; write one number, such as -1"
            raise ConfigError(f"{where}: from={source!r}: {wanted}")
        if not -len(channels) <= one < len(channels):
            raise ConfigError(
                f"{where}: from={source!r}: there is no such layer before it; write -1 for the previous one"
            )
    return [channels[one] for one in sources] if sources is source else channels[source]


def _split(args: Sequence[Any]) -> tuple[Sequence[Any], dict[str, Any]]:
    if args and isinstance(args[-1], dict):
        return args[:-1], args[-1]
    return args, {}


def _check_names(
    cls: type[nn.Module], where: str, given: int, positional: Sequence[Any], keywords: dict[str, Any]
) -> None:
    parameters = list(inspect.signature(cls).parameters.values())
    if any(p.kind in {p.VAR_POSITIONAL, p.VAR_KEYWORD} for p in parameters):
        return  # only the constructor itself can tell
    parameters = parameters[given:]  # the row does not give the first
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
            first = positional[by_position.index(name)]
            raise ConfigError(f"{where}: {name} is given twice, as {first!r} and as {keywords[name]!r}: write it once")


def _hint(args: Sequence[Any]) -> str:
    """What to write instead where the row still has the width that SPPF and Conv rows begin with."""
    if args and isinstance(args[0], int) and args[0] >= 16:  # smaller numbers are kernels, groups, levels
        return f". {args[0]} looks like a width: this layer keeps the width of its input, write []"
    return ""
