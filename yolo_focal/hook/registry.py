"""What is registered: the modules that a row may name beyond Ultralytics' own, and where their channels come from."""

from __future__ import annotations

import inspect
import math
import sys
import threading
import warnings
from collections.abc import Iterator, Mapping
from typing import Any, Callable, NamedTuple, TypeVar, overload

import torch
from torch import nn

from yolo_focal import plugins
from yolo_focal.errors import ConfigError
from yolo_focal.focal import FocalModulation

_Class = TypeVar("_Class", bound="type[nn.Module]")
_TASKS = "ultralytics.nn.tasks"  # whose names a row may use; not imported here


class Scaling(NamedTuple):
    """How a model's scale changes the widths that its YAML gives.

    Attributes:
        width: The scale's factor.
        max_channels: The scale's largest width, before the factor.
        nc: The number of classes, a width that no scale changes.
    """

    width: float
    max_channels: float
    nc: int | None

    def channels(self, c2: int) -> int:
        """Return a row's width at this scale as Ultralytics computes it: a multiple of 8, but `nc` stays."""
        return c2 if c2 == self.nc else math.ceil(min(c2, self.max_channels) * self.width / 8) * 8


# (channels of the layer that the row reads, or a list of them; the row's arguments; the scaling)
# -> (channels of the row, arguments of the constructor)
Rule = Callable[[Any, "list[Any]", Scaling], "tuple[int, list[Any]]"]


def keep(channels: int, args: list[Any], scaling: Scaling) -> tuple[int, list[Any]]:  # noqa: ARG001  a rule's signature
    """Give the constructor the incoming width, which stays."""
    return channels, [channels, *args]


def scale(channels: int, args: list[Any], scaling: Scaling) -> tuple[int, list[Any]]:
    """Give the constructor the incoming width and the row's, scaled like a convolution's."""
    if not args or isinstance(args[0], bool) or not isinstance(args[0], int) or args[0] < 1:
        raise ValueError(f"arguments {args}: write its width first, such as [256]")
    c2 = scaling.channels(args[0])
    return c2, [channels, c2, *args[1:]]


class Registered(NamedTuple):
    """A registered module.

    Attributes:
        cls: The class.
        rule: Its channel rule.
        given: How many of the constructor's arguments the rule gives before those of the row; the number of repeats is
            one of them where `repeats` is set.
        repeats: Whether the constructor takes the number of repeats behind the widths.
        override: Whether it goes before a module of the same name in Ultralytics.
        source: The module that registered it.
    """

    cls: type[nn.Module]
    rule: Rule
    given: int
    repeats: bool
    override: bool
    source: str


_RULES: dict[str, Rule] = {"same": keep, "scaled": scale}
_GIVEN: dict[Any, int] = {keep: 1, scale: 2}
_modules = {"FocalModulation": Registered(FocalModulation, keep, 1, False, False, FocalModulation.__module__)}
_lock = threading.Lock()


@overload
def register(cls: _Class, /) -> _Class: ...


@overload
def register(
    cls: _Class,
    /,
    *,
    name: str | None = None,
    channels: str | Rule = "same",
    repeats: bool = False,
    override: bool = False,
) -> _Class: ...


@overload
def register(
    *, name: str | None = None, channels: str | Rule = "same", repeats: bool = False, override: bool = False
) -> Callable[[_Class], _Class]: ...


def register(
    cls: Any = None,
    /,
    *,
    name: str | None = None,
    channels: str | Rule = "same",
    repeats: bool = False,
    override: bool = False,
) -> Any:
    """Make a module known to rows of model YAMLs; a decorator, with arguments or without, or a function.

    The class stays as it is. To be known in every process, the file that registers it must be importable and named in
    the environment variable `YOLO_FOCAL_MODULES`, or be an entry point of the group `yolo_focal.modules`.

    Args:
        cls: The class.
        name: What rows call it; its own name unless given.
        channels: Where its widths come from. "same": the constructor is `(dim, *args)` and the width stays. "scaled":
            it is `(c1, c2, *args)`, and the row gives the width, which is scaled as a `Conv` row's. Or a function of
            the incoming channels (a list where the row reads several layers), the row's arguments and a `Scaling`; it
            returns the row's channels and the constructor's arguments.
        repeats: With "scaled": the constructor takes the number of repeats after the widths, `(c1, c2, n, *args)`.
        override: Let it stand for a module of the same name in Ultralytics.

    Returns:
        The class, or a decorator where none is given.

    Raises:
        ConfigError: Something that cannot work; the message says what would.
    """
    if cls is None:
        return lambda one: register(one, name=name, channels=channels, repeats=repeats, override=override)
    if not (isinstance(cls, type) and issubclass(cls, nn.Module)):
        raise ConfigError(
            f"register: {cls!r} is no nn.Module class; register a class that inherits from torch.nn.Module"
        )
    called = cls.__name__ if name is None else name
    where = f"register {called}"
    rule = _RULES.get(channels) if isinstance(channels, str) else channels
    if not callable(rule):
        raise ConfigError(f'{where}: channels={channels!r}: write "same", "scaled" or a function')
    if repeats and rule is not scale:
        raise ConfigError(f'{where}: repeats=True goes with channels="scaled", whose constructor is (c1, c2, n, *args)')
    if not called.isidentifier():
        raise ConfigError(f"{where}: name={called!r}: write a name of letters, digits and underscores")
    given = _GIVEN.get(rule, 0) + repeats
    _check_constructor(cls, where, given)
    source = _caller()
    entry = Registered(cls, rule, given, repeats, override, source)
    with _lock:
        _check_name(called, entry, where)
        _modules[called] = entry
        _allow(cls)
    if source == "__mp_main__":  # a spawned child's copy of __main__, whose warning was given
        return cls
    if "__main__" not in {source, cls.__module__}:
        plugins.pass_on(source)
        return cls
    warnings.warn(
        f"{where}: child processes and whoever loads a checkpoint do not know what is defined or registered in "
        f"__main__; move it to a file of its own and name that in {plugins.VARIABLE}",
        stacklevel=_depth(),
    )
    return cls


def find(name: str) -> Registered | None:
    """Return what is registered under a name, or None."""
    return _modules.get(name)


def registered() -> dict[str, Registered]:
    """Return everything that is registered."""
    return dict(_modules)


class Names(Mapping[str, Any]):
    """The names that a row may use: Ultralytics' own and the registered ones.

    FocalModulation gives way to a class of that name in Ultralytics: a fork may have its own, and checkpoints of it.
    """

    def __init__(self, ultralytics: dict[str, Any]) -> None:
        self._ultralytics = ultralytics

    def __getitem__(self, name: str) -> Any:
        entry = _modules.get(name)
        if entry is None and name not in self._ultralytics:
            raise KeyError(
                f"{name}: neither Ultralytics nor a registered module has this name (registered: "
                f"{', '.join(_modules)}); modules of your own are registered by the files that {plugins.VARIABLE} names"
            )
        if entry is None or (name in self._ultralytics and entry.cls is FocalModulation):
            return self._ultralytics[name]
        if name in self._ultralytics and not entry.override:
            raise _taken(f"register {name}")
        return entry.cls

    def __iter__(self) -> Iterator[str]:
        return iter({**self._ultralytics, **_modules})

    def __len__(self) -> int:
        return len({**self._ultralytics, **_modules})


def _check_constructor(cls: type[nn.Module], where: str, given: int) -> None:
    parameters = inspect.signature(cls).parameters.values()
    places = [p for p in parameters if p.kind in {p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD}]
    if len(places) < given and not any(p.kind is p.VAR_POSITIONAL for p in parameters):
        wanted = {1: "(dim, ...)", 2: "(c1, c2, ...)", 3: "(c1, c2, n, ...)"}[given]
        raise ConfigError(f"{where}: its constructor is {inspect.signature(cls)}, and it is called with {wanted}")


def _check_name(name: str, entry: Registered, where: str) -> None:
    known = _modules.get(name)
    if known is not None and _path(known.cls) != _path(entry.cls):  # of one path it is a module imported anew
        raise ConfigError(f"{where}: {_path(known.cls)} has that name already; write name= with another")
    tasks = sys.modules.get(_TASKS)
    if tasks is not None and name in vars(tasks) and not entry.override and entry.cls is not FocalModulation:
        raise _taken(where)


def _taken(where: str) -> ConfigError:
    return ConfigError(f"{where}: Ultralytics has that name already; write name= with another, or override=True")


def _path(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _allow(cls: type) -> None:
    """Let restricted checkpoint loading accept a class."""
    if hasattr(torch.serialization, "add_safe_globals"):  # torch 2.4 and later
        torch.serialization.add_safe_globals([cls])


def _depth() -> int:
    """Return how many frames up the caller of `register` is, counted from the function that asks."""
    depth = 1
    while sys._getframe(depth).f_globals is globals():
        depth += 1
    return depth


def _caller() -> str:
    name: str = sys._getframe(_depth() - 1).f_globals.get("__name__", "__main__")
    return name


_allow(FocalModulation)
