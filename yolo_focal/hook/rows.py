"""Reads and validates the rows of a model YAML that name a registered module."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Sequence
from typing import Any

from torch import nn

from yolo_focal.errors import ConfigError
from yolo_focal.hook.holder import RESERVED, hold
from yolo_focal.hook.registry import Registered, Rule, Scaling, given_channels, same_channels, scaled_channels
from yolo_focal.hook.tracebacks import describe_error, is_raised_in_package

_OTHERWISE = "else"  # the key of the scales that a mapping does not name


class Row:
    """A row's module, which Ultralytics' parser calls with the row's arguments to build the layer.

    Its `str` is that of the class, because the parser takes the layer's type from it.

    Args:
        module: The registered module.
        where: File, row and module name, for messages.
    """

    def __init__(self, module: Registered, where: str) -> None:
        self.module = module
        self.where = where

    def __str__(self) -> str:
        return str(self.module.cls)

    def __call__(self, *args: Any) -> nn.Module:
        """Build the layer from positional arguments, the last of which may be a mapping of keyword arguments."""
        cls, leading, is_same = self.module.cls, self.module.leading_arguments, self.module.rule is same_channels
        positional, keywords = _split(args)
        _check_names(cls, self.where, leading, positional[leading:], keywords)
        try:
            layer = cls(*positional, **keywords)
        except Exception as error:  # whatever the constructor raises, the user can correct the row
            raise ConfigError(
                f"{self.where}: {_describe(error, cls)}{_hint(args[leading:]) if is_same else ''}"
            ) from error
        held = hold(layer)
        if held is not layer and _is_head(layer):
            raise ConfigError(
                f"{self.where}: {cls.__name__} has an attribute called {' or '.join(sorted(RESERVED))}, which are "
                "Ultralytics' own on a head: rename it in the class"
            )
        return held


def _is_head(layer: nn.Module) -> bool:
    """Return whether a layer inherits from one of Ultralytics' heads."""
    return any(base.__module__ == "ultralytics.nn.modules.head" for base in type(layer).__mro__)


def _describe(error: Exception, cls: type[nn.Module]) -> str:
    """Return what a constructor's error says; this package's own errors say all, others need their type and place."""
    if is_raised_in_package(error):
        return str(error)
    try:
        return describe_error(error, inspect.getsourcefile(cls))
    except TypeError:  # a class that was not defined in a file
        return describe_error(error)


def check(file: str, index: int, row: Sequence[Any]) -> None:
    """Check what Ultralytics' parser assumes of a row: four parts, an integer of repeats, a list of arguments.

    Args:
        file: The config file, as the user named it.
        index: The row's index.
        row: The row.

    Raises:
        ConfigError: The row has another form.
    """
    where = f"{file}, row {index} ({row[2]})"
    if len(row) != 4:
        raise ConfigError(f"{where}: {list(row)}: write four parts, [from, repeats, module, arguments]")
    repeats, args = row[1], row[3]
    if isinstance(repeats, bool) or not isinstance(repeats, int) or repeats < 1:
        raise ConfigError(f"{where}: repeats={repeats!r}: write an integer of at least 1")
    if not isinstance(args, list):
        raise ConfigError(f"{where}: arguments {args!r}: write a list, such as []")


def of_scale(args: Sequence[Any], scale: str, scales: Sequence[str], where: str) -> list[Any]:
    """Resolve arguments that are given for each scale, such as `{n: 32, else: 96}`.

    Such a mapping has the letters of scales as keys, and `else` where it does not name all. Any other mapping stays as
    it is.

    Args:
        args: The row's arguments, the last of which may be a mapping of keyword arguments.
        scale: The model's scale.
        scales: The config's scales; without any, the arguments are returned as they are.
        where: File, row and module name, for messages.

    Returns:
        The arguments of the model's scale.

    Raises:
        ConfigError: A mapping names some scales only.
    """

    def resolve(value: Any) -> Any:
        if not isinstance(value, dict) or not value or not scales or not value.keys() <= {*scales, _OTHERWISE}:
            return value
        missing = [letter for letter in scales if letter not in value]
        if missing and _OTHERWISE not in value:
            raise ConfigError(f"{where}: {value}: no value for {', '.join(missing)}; write it, or else: for the others")
        return value[scale] if scale in value else value[_OTHERWISE]

    positional, keywords = _split(args)
    return [
        *map(resolve, positional),
        *([{name: resolve(value) for name, value in keywords.items()}] if keywords else []),
    ]


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
        module: The registered module.
        file: The config file, as the user named it.
        index: The row's index, from 0, counted through backbone and head as in Ultralytics' model table.
        row: The row: from, repeats, module name, arguments.
        args: The row's arguments as Ultralytics' parser evaluated them.
        channels: Output channels of each layer before the row.
        scaling: The model's scaling.
        repeats: The row's repeats at the model's scale.

    Returns:
        The row's output channels, the `Row` that builds its layer, the constructor's arguments (the last of which may
        be a mapping of keyword arguments), and the number of layers to stack.

    Raises:
        ConfigError: The row is invalid; the message says what to write instead.
    """
    where = f"{file}, row {index} ({row[2]})"
    c1 = _input_channels(where, row[0], channels, several=module.leading_arguments == 0)
    positional, keywords = _split(args)
    c2, arguments = _apply(module.rule, where, c1, list(positional), scaling)
    if module.repeats:
        arguments.insert(module.leading_arguments - 1, repeats)
        repeats = 1
    if repeats > 1 and c2 != c1:
        raise ConfigError(
            f"{where}: repeats={row[1]}: it has {c1} input and {c2} output channels and cannot be stacked; write 1"
        )
    return c2, Row(module, where), [*arguments, *([keywords] if keywords else [])], repeats


def _apply(rule: Rule, where: str, c1: Any, args: list[Any], scaling: Scaling) -> tuple[int, list[Any]]:
    """Apply a channel rule and check that it returns output channels and constructor arguments."""
    try:
        result = rule(c1, args, scaling)
    except Exception as error:
        is_ours = rule in (given_channels, scaled_channels)
        reason = str(error) if is_ours else f"its channel rule raised {describe_error(error)}"
        raise ConfigError(f"{where}: {reason}") from error
    try:
        c2, arguments = result
        if isinstance(c2, bool) or not isinstance(c2, int) or c2 < 1:
            raise TypeError
        return c2, [*arguments]
    except (TypeError, ValueError):
        expected = "return the row's channels, an integer, and the constructor's arguments, a list"
        raise ConfigError(f"{where}: its channel rule returned {result!r}; {expected}") from None


def _input_channels(where: str, source: Any, channels: Sequence[int], several: bool) -> Any:
    """Return the channels of the layer that a row reads, or a list of them if `source` is a list.

    Args:
        where: File, row and module name, for messages.
        source: The row's `from`.
        channels: Output channels of each layer before the row.
        several: Whether `source` may be a list.
    """
    sources = source if several and isinstance(source, list) else [source]
    if not sources:
        raise ConfigError(f"{where}: from=[]: write the indices of the layers that it reads, such as [-1, 6]")
    for index in sources:
        if isinstance(index, bool) or not isinstance(index, int):
            expected = "write layer indices" if several else "it reads one layer; write one index, such as -1"
            raise ConfigError(f"{where}: from={source!r}: {expected}")
        if not -len(channels) <= index < len(channels):
            raise ConfigError(
                f"{where}: from={source!r}: there is no such layer before it; write -1 for the previous one"
            )
    return [channels[index] for index in sources] if sources is source else channels[source]


def _split(args: Sequence[Any]) -> tuple[Sequence[Any], dict[str, Any]]:
    """Split arguments into positional ones and the trailing mapping of keyword arguments."""
    if args and isinstance(args[-1], dict):
        return args[:-1], args[-1]
    return args, {}


def _check_names(
    cls: type[nn.Module], where: str, leading: int, positional: Sequence[Any], keywords: dict[str, Any]
) -> None:
    """Raise ConfigError if a row's arguments do not match the constructor's signature.

    Args:
        cls: The class.
        where: File, row and module name, for messages.
        leading: Number of constructor arguments that come from the channel rule.
        positional: The row's positional arguments.
        keywords: The row's keyword arguments.
    """
    parameters = list(inspect.signature(cls).parameters.values())
    if any(p.kind in {p.VAR_POSITIONAL, p.VAR_KEYWORD} for p in parameters):
        return  # the signature does not list the valid names
    parameters = parameters[leading:]
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
            expected = f"write {close[0]}" if close else f"write one of {', '.join(names)}"
            raise ConfigError(f"{where}: unknown argument {name}={keywords[name]!r}: {expected}")
        if name in by_position[: len(positional)]:
            first = positional[by_position.index(name)]
            raise ConfigError(f"{where}: {name} is given twice, as {first!r} and as {keywords[name]!r}: write it once")


def _hint(args: Sequence[Any]) -> str:
    """Return a hint if a row starts with a number of output channels, as SPPF and Conv rows do."""
    if args and isinstance(args[0], int) and args[0] >= 16:  # smaller values may be kernel sizes, groups or levels
        return f". {args[0]} looks like output channels: this layer has as many as its input, write []"
    return ""
