"""Builds the layers of rows that name a registered module; Ultralytics' parser calls these in the place of a class."""

from __future__ import annotations

import difflib
import inspect
import sys
from collections.abc import Callable, Sequence
from typing import Any

from torch import nn

from yolo_focal.errors import ConfigError
from yolo_focal.hook import forks
from yolo_focal.hook.holder import RESERVED, hold
from yolo_focal.hook.modules import origins
from yolo_focal.hook.modules.channels import LEADING_ARGUMENTS, Rule, same_channels
from yolo_focal.hook.rows.arguments import split
from yolo_focal.hook.tracebacks import describe_error, is_raised_in_package


class _Constructor:
    """What builds a layer; its `str` is that of the class, because the parser takes the layer's type from it.

    Args:
        cls: The class, or a function that returns a module.
        where: File, row and module name, for messages.
        is_output: Whether it must be one of Ultralytics' heads, whose output a loss is computed from.
    """

    def __init__(self, cls: Callable[..., nn.Module], where: str, is_output: bool) -> None:
        self._cls = cls
        self._where = where
        self._is_output = is_output

    def __str__(self) -> str:
        return f"<class '{self._cls.__module__}.{self._cls.__qualname__}'>"

    def _build(self, positional: Sequence[Any], keywords: dict[str, Any], hint: str = "") -> nn.Module:
        """Call the constructor; whatever it raises, the user can correct the row or the class."""
        layer = self._called(positional, keywords, hint)
        origins.store(layer, self._cls)
        held = hold(layer)
        if held is not layer and _is_head(layer):
            raise ConfigError(
                f"{self._where}: {self._cls.__name__} has an attribute called {' or '.join(sorted(RESERVED))}, which "
                "are Ultralytics' own on a head: rename it in the class"
            )
        self._check_output(layer)
        return held

    def _called(self, positional: Sequence[Any], keywords: dict[str, Any], hint: str = "") -> nn.Module:
        try:
            layer = self._cls(*positional, **keywords)
        except Exception as error:
            raise ConfigError(f"{self._where}: {_describe(error, self._cls)}{hint}") from error
        if not isinstance(layer, nn.Module):
            raise ConfigError(f"{self._where}: it returned {layer!r}; return a torch.nn.Module")
        return layer

    def _check_output(self, layer: nn.Module) -> None:
        if self._is_output and not _is_head(layer):
            raise ConfigError(
                f"{self._where}: it is the model's last row, and {self._cls.__name__} is no subclass of a head of "
                "Ultralytics, so there is no loss for it; inherit from the head of its task, such as "
                "ultralytics.nn.modules.Detect"
            )


class OfRule(_Constructor):
    """What builds the layer of a row that is read by a channel rule.

    Args:
        cls: The class, or a function that returns a module.
        where: File, row and module name, for messages.
        is_output: Whether it must be one of Ultralytics' heads, whose output a loss is computed from.
        rule: The channel rule.
    """

    def __init__(self, cls: Callable[..., nn.Module], where: str, is_output: bool, rule: Rule) -> None:
        super().__init__(cls, where, is_output)
        self._leading, self._is_same = LEADING_ARGUMENTS.get(rule, 0), rule is same_channels

    def __call__(self, *args: Any) -> nn.Module:
        """Build the layer from positional arguments, the last of which may be a mapping of keyword arguments."""
        positional, keywords = split(args)
        given = positional[self._leading :]
        _check_names(self._cls, self._where, self._leading, given, keywords)
        return self._build(positional, keywords, _hint(given) if self._is_same else "")


class LikeStock(_Constructor):
    """What builds the layer of a row that Ultralytics' parser reads as one of a class of its own.

    A head gets what the parser adds behind the row's arguments by name, because that differs from release to release:
    its constructor takes what it has a parameter for.

    Args:
        cls: The class, or a function that returns a module.
        where: File, row and module name, for messages.
        is_output: Whether it must be one of Ultralytics' heads, whose output a loss is computed from.
        stock: The class as whose row it is read.
        given: How many arguments the row gives by position.
    """

    def __init__(
        self, cls: Callable[..., nn.Module], where: str, is_output: bool, stock: type[nn.Module], given: int
    ) -> None:
        super().__init__(cls, where, is_output)
        self.is_subclass = isinstance(cls, type) and issubclass(cls, stock)
        self._stock, self._given = stock, given

    def __call__(self, *args: Any) -> nn.Module:
        """Build the layer from what the parser has made of the row, the last of which may be a mapping."""
        positional, keywords = split(args)
        _check_names(self._cls, self._where, 0, [], keywords)
        positional, added = self._by_name(positional)
        try:
            inspect.signature(self._cls).bind(*positional, **added, **keywords)
        except TypeError as error:
            raise ConfigError(
                f"{self._where}: it is called as {self._stock.__name__} is, with {_call(positional, added, keywords)}, "
                f"and its constructor is {inspect.signature(self._cls)}: {error}"
            ) from None
        return self._build(positional, {**added, **keywords})

    def take_over_legacy(self) -> None:
        """Set on the class what the parser has just set on the stock head, which decides on the head's layers.

        The parser sets `legacy` on the class whose row it reads. That which is built may inherit from another head, or
        have the line `legacy = False` of one that it was copied from.
        """
        if isinstance(self._cls, type) and "legacy" in vars(self._stock):
            self._cls.legacy = vars(self._stock)["legacy"]  # type: ignore[attr-defined]

    def _by_name(self, positional: Sequence[Any]) -> tuple[Sequence[Any], dict[str, Any]]:
        """Return positional arguments without those that a head gets by name, and these."""
        stock = inspect.signature(self._stock).parameters
        own = inspect.signature(self._cls).parameters.values()
        behind = len(positional) - self._given
        if [*stock][-1:] != ["ch"] or behind < 1 or any(p.kind is p.VAR_POSITIONAL for p in own):
            return positional, {}
        added = dict(zip([*stock][-behind:], positional[self._given :], strict=True))
        takes_all = any(p.kind is p.VAR_KEYWORD for p in own)
        kept = {name: value for name, value in added.items() if takes_all or name in [p.name for p in own]}
        for name in added.keys() - kept.keys():
            if added[name] not in (None, stock[name].default):
                raise ConfigError(
                    f"{self._where}: its constructor is {inspect.signature(self._cls)}, and this model's "
                    f"{self._stock.__name__} has {name}={added[name]!r}: add the argument {name}"
                )
        return positional[: self._given], kept


class OfFork(_Constructor):
    """What builds the layer of a row that a fork's parser has read.

    Args:
        module: The class, a function that returns a module, or a backbone that the parser has built.
        where: File, row and module name, for messages.
        is_output: Whether it must be one of Ultralytics' heads, whose output a loss is computed from.
    """

    def __init__(self, module: Any, where: str, is_output: bool) -> None:
        built = isinstance(module, nn.Module)
        super().__init__(type(module) if built else module, where, is_output)
        self._built = module if built else None

    def __call__(self, *args: Any) -> nn.Module:
        """Build the layer; Ultralytics' own attributes are set on it as they were in the fork."""
        layer = self._built
        if layer is None:
            layer = self._called(args, {})
        self._check_output(layer)
        fork = forks.current()
        if fork is not None:
            origins.store_location(layer, str(fork.folder))
        return layer


def _is_head(layer: nn.Module) -> bool:
    """Return whether a layer inherits from one of Ultralytics' heads."""
    heads = vars(sys.modules["ultralytics.nn.modules.head"])
    return any(heads.get(base.__name__) is base for base in type(layer).__mro__)


def _call(positional: Sequence[Any], *keywords: dict[str, Any]) -> str:
    named = [f"{name}={value!r}" for part in keywords for name, value in part.items()]
    return f"({', '.join([*map(repr, positional), *named])})"


def _describe(error: Exception, cls: Callable[..., nn.Module]) -> str:
    """Return what a constructor's error says; this package's own errors say all, others need their type and place."""
    if is_raised_in_package(error):
        return str(error)
    try:
        return describe_error(error, inspect.getsourcefile(cls))
    except TypeError:  # a class that was not defined in a file
        return describe_error(error)


def _check_names(
    cls: Callable[..., nn.Module], where: str, leading: int, positional: Sequence[Any], keywords: dict[str, Any]
) -> None:
    """Raise ConfigError if a row's arguments do not match the constructor's signature.

    Args:
        cls: The class, or a function that returns a module.
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
