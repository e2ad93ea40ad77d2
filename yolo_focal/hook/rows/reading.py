"""Reads the rows of a model YAML, and validates those that name a registered module."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from types import TracebackType
from typing import Any, NamedTuple

from torch import nn

from yolo_focal.errors import ConfigError
from yolo_focal.hook.modules.channels import LEADING_ARGUMENTS, Rule, Scaling, same_channels
from yolo_focal.hook.modules.registry import Registered
from yolo_focal.hook.rows.arguments import split
from yolo_focal.hook.rows.constructors import LikeStock, OfRule
from yolo_focal.hook.tracebacks import describe_error


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


class Place(NamedTuple):
    """A row that names a registered module.

    Attributes:
        where: File, row and module name, for messages.
        row: The row: from, repeats, module name, arguments.
        is_output: Whether its layer must be one of Ultralytics' heads, whose output a loss is computed from.
    """

    where: str
    row: Sequence[Any]
    is_output: bool


class StockRow:
    """A row that Ultralytics' parser reads alone.

    Args:
        args: The row's arguments.
    """

    is_read_by_rule = False

    def __init__(self, args: list[Any]) -> None:
        self.args = args

    def __enter__(self) -> None: ...

    def __exit__(self, *error: object) -> None: ...

    def constructor(self, module: Any, args: list[Any], c2: Any, n: Any) -> tuple[Any, Any, list[Any]]:  # noqa: ARG002
        """Return the module as which the parser goes on with the row, what builds the layer, and its arguments."""
        return module, module, args


class RuleRow:
    """A row of a module that is registered with a channel rule.

    Args:
        entry: The module.
        place: The row.
        args: The row's arguments as Ultralytics' parser evaluated them.
        channels: Output channels of each layer before the row.
        scaling: The model's scaling.

    Attributes:
        result: The row's output channels, the constructor's arguments (the last of which may be a mapping of keyword
            arguments), and how many layers are stacked.

    Raises:
        ConfigError: The row is invalid; the message says what to write instead.
    """

    is_read_by_rule = True

    def __init__(
        self, entry: Registered, place: Place, args: Sequence[Any], channels: Sequence[int], scaling: Scaling
    ) -> None:
        rule = entry.rule or same_channels
        where, row = place.where, place.row
        c1 = _input_channels(where, row[0], channels, several=rule not in LEADING_ARGUMENTS)
        positional, keywords = split(args)
        c2, arguments, n = _apply(rule, where, c1, list(positional), scaling)
        if n > 1 and c2 != c1:
            raise _not_stackable(place, c1, c2)
        self.result = c2, [*arguments, *([keywords] if keywords else [])], n
        self._constructor = OfRule(entry.cls, where, place.is_output, rule)

    def constructor(self, module: Any, args: list[Any], c2: Any, n: Any) -> tuple[Any, Any, list[Any]]:  # noqa: ARG002
        """Return the module as which the parser goes on with the row, what builds the layer, and its arguments."""
        return self._constructor, self._constructor, args


class LikeRow:
    """A row that Ultralytics' parser reads as one of another class, around whose reading it is a context manager.

    Args:
        entry: The registered module.
        place: The row.
        args: The row's arguments as Ultralytics' parser evaluated them.
        channels: Output channels of each layer before the row.
        stock: The class as whose row it is read.

    Attributes:
        args: The row's arguments by position, which the parser reads.

    Raises:
        ConfigError: The row reads a layer that there is not.
    """

    is_read_by_rule = False

    def __init__(
        self, entry: Registered, place: Place, args: Sequence[Any], channels: Sequence[int], stock: type[nn.Module]
    ) -> None:
        self._place, self._stock = place, stock
        self._c1 = _input_channels(place.where, place.row[0], channels, several=True)
        positional, self._keywords = split(args)
        self._given, self.args = [*positional], [*positional]
        self._constructor = LikeStock(entry.cls, place.where, place.is_output, stock, len(positional))

    def __enter__(self) -> None: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if isinstance(error, Exception):
            raise self._refusal(f"which stops with {describe_error(error)}") from error

    def constructor(self, module: Any, args: list[Any], c2: Any, n: int) -> tuple[Any, Any, list[Any]]:
        """Return the module as which the parser goes on with the row, what builds the layer, and its arguments.

        Args:
            module: The class as whose row the parser has read it.
            args: The constructor's arguments by position.
            c2: The row's output channels.
            n: How many layers are stacked.

        Raises:
            ConfigError: The row has no number of output channels, or cannot be stacked.
        """
        if [*inspect.signature(self._stock).parameters][1:2] == ["c2"]:
            first = self._given[0]  # the parser has read it, as the number of output channels
            if isinstance(first, bool) or not isinstance(first, int) or first < 1:
                raise self._refusal(f"whose first argument is its output channels: write a number, such as {[256]}")
            if n > 1 and c2 != self._c1:
                raise _not_stackable(self._place, self._c1, c2)
        self._constructor.take_over_legacy()
        # What the parser does to the layer afterwards, as to an SPPF's, is right for a subclass alone.
        goes_on_as = module if self._constructor.is_subclass else self._constructor
        return goes_on_as, self._constructor, [*args, *([self._keywords] if self._keywords else [])]

    def _refusal(self, reason: str) -> ConfigError:
        return ConfigError(
            f"{self._place.where}: arguments {self._given}: it is read as a row of {self._stock.__name__}, {reason}"
        )


def _not_stackable(place: Place, c1: Any, c2: int) -> ConfigError:
    return ConfigError(
        f"{place.where}: repeats={place.row[1]}: it has {c1} input and {c2} output channels and cannot be stacked; "
        "write 1"
    )


def _apply(rule: Rule, where: str, c1: Any, args: list[Any], scaling: Scaling) -> tuple[int, list[Any], int]:
    """Apply a channel rule and check what it returns."""
    try:
        result: Any = rule(c1, args, scaling)
    except Exception as error:
        reason = str(error) if rule in LEADING_ARGUMENTS else f"its channel rule raised {describe_error(error)}"
        raise ConfigError(f"{where}: {reason}") from error
    try:
        c2, arguments, n = result if len(result) == 3 else (*result, scaling.repeats)
        for number in (c2, n):
            if isinstance(number, bool) or not isinstance(number, int) or number < 1:
                raise TypeError
        return c2, [*arguments], n
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
