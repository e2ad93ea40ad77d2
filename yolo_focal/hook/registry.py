"""The registry of modules that model YAML rows may name beyond Ultralytics' own, and their channel rules."""

from __future__ import annotations

import functools
import importlib
import inspect
import math
import sys
import sysconfig
import threading
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Callable, NamedTuple, TypeVar, overload

import torch
from torch import nn

from yolo_focal import environment
from yolo_focal.collection import CAFM, EMA, MSDA, MSFN, C2fDynamic, C2fSnake, DynamicConv, DySnakeConv, ODConv
from yolo_focal.errors import ConfigError
from yolo_focal.focal import (
    C2Focal,
    C2FocalBlock,
    DropPath,
    FocalBlock,
    FocalEmbed,
    FocalModulation,
    FocalNorm,
    FocalStage,
    LayerScale,
    Mlp,
)
from yolo_focal.hook import children, finder
from yolo_focal.hook.holder import Holder

_Class = TypeVar("_Class", bound="type[nn.Module]")
_TASKS = "ultralytics.nn.tasks"  # its globals are the names that a row may use; not imported here


class Scaling(NamedTuple):
    """How a model's scale changes the numbers of channels in its YAML.

    Attributes:
        width: The scale's width multiple.
        max_channels: The scale's largest number of channels, before the width multiple is applied.
        nc: The number of classes, which is not scaled; None if the YAML has none.
    """

    width: float
    max_channels: float
    nc: int | None

    def channels(self, c2: int) -> int:
        """Return a row's number of channels at this scale, computed as in Ultralytics.

        Args:
            c2: The number of channels in the YAML.

        Returns:
            The scaled number of channels, rounded up to a multiple of 8; `nc` is returned as it is.
        """
        return c2 if c2 == self.nc else math.ceil(min(c2, self.max_channels) * self.width / 8) * 8


# (channels of the layer that the row reads, or a list of them; the row's arguments; the scaling)
# -> (channels of the row, arguments of the constructor)
Rule = Callable[[Any, "list[Any]", Scaling], "tuple[int, list[Any]]"]


def same_channels(channels: int, args: list[Any], scaling: Scaling) -> tuple[int, list[Any]]:  # noqa: ARG001
    """Apply the rule "same": as many output channels as input channels, which the constructor takes first."""
    return channels, [channels, *args]


def scaled_channels(channels: int, args: list[Any], scaling: Scaling) -> tuple[int, list[Any]]:
    """Apply the rule "scaled": the row's first argument is its output channels, scaled as in a `Conv` row.

    Raises:
        ValueError: The first argument is not a number of channels.
    """
    c2 = scaling.channels(_output_channels(args, "[256]"))
    return c2, [channels, c2, *args[1:]]


def given_channels(channels: int, args: list[Any], scaling: Scaling) -> tuple[int, list[Any]]:  # noqa: ARG001
    """Apply a rule of FocalNet's rows: the row's first argument is its output channels, which are not scaled.

    Raises:
        ValueError: The first argument is not a number of channels.
    """
    return _output_channels(args, "[96, 4]"), [channels, *args]


def _output_channels(args: list[Any], example: str) -> int:
    if not args or isinstance(args[0], bool) or not isinstance(args[0], int) or args[0] < 1:
        raise ValueError(f"arguments {args}: write its output channels first, such as {example}")
    return args[0]


class Registered(NamedTuple):
    """A registered module.

    Attributes:
        cls: The class.
        rule: Its channel rule.
        repeats: Whether the constructor takes the number of repeats after the channels.
        override: Whether it takes precedence over a module of the same name in Ultralytics.
    """

    cls: type[nn.Module]
    rule: Rule
    repeats: bool = False
    override: bool = False

    @property
    def leading_arguments(self) -> int:
        """Number of constructor arguments that come from the rule and the repeats, and not from the row.

        1 for `(dim)`, 2 for `(c1, c2)` or `(dim, n)`, 3 for `(c1, c2, n)`, 0 for a rule of the user's own.
        """
        return _LEADING_ARGUMENTS.get(self.rule, 0) + self.repeats


_RULES: dict[str, Rule] = {"same": same_channels, "scaled": scaled_channels}
_LEADING_ARGUMENTS: dict[Any, int] = {same_channels: 1, scaled_channels: 2, given_channels: 2}
# This package's own modules. A module of the same name in Ultralytics or of the user's own takes precedence.
_built_in = {
    "FocalModulation": Registered(FocalModulation, same_channels),
    "C2Focal": Registered(C2Focal, same_channels, repeats=True),
    "FocalEmbed": Registered(FocalEmbed, given_channels),
    "FocalStage": Registered(FocalStage, same_channels),
    "FocalNorm": Registered(FocalNorm, same_channels),
    "EMA": Registered(EMA, same_channels),
    "MSDA": Registered(MSDA, same_channels),
    "CAFM": Registered(CAFM, same_channels),
    "MSFN": Registered(MSFN, same_channels),
    "ODConv": Registered(ODConv, scaled_channels),
    "DynamicConv": Registered(DynamicConv, scaled_channels),
    "C2fDynamic": Registered(C2fDynamic, scaled_channels, repeats=True),
    "DySnakeConv": Registered(DySnakeConv, scaled_channels),
    "C2fSnake": Registered(C2fSnake, scaled_channels, repeats=True),
}
_modules = dict(_built_in)
_lock = threading.Lock()
_INSTALLED = {Path(sysconfig.get_path(key)).resolve() for key in ("purelib", "platlib", "stdlib", "platstdlib")}


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
    """Register a module for rows of model YAMLs, as a decorator with or without arguments or as a function.

    The class itself is not changed. Child processes register it too. To be registered in every process, it needs a file
    of its own, which the environment variable `YOLO_FOCAL_MODULES` names, or an entry point of the group
    `yolo_focal.modules`.

    Args:
        cls: The class, a subclass of `torch.nn.Module`.
        name: Its name in rows; by default the class's own name.
        channels: The channel rule. With "same" the constructor is `(dim, *args)`, and there are as many output channels
            as input channels. With "scaled" it is `(c1, c2, *args)`, and the row's first argument is the number of
            output channels, scaled as in a `Conv` row. Or a function of the input channels (a list if the row reads
            several layers), the row's arguments and a `Scaling`, which returns the row's output channels and the
            constructor's arguments.
        repeats: With "scaled" only: the constructor takes the number of repeats after the channels,
            `(c1, c2, n, *args)`.
        override: Take precedence over a module of the same name in Ultralytics.

    Returns:
        The class, or a decorator if `cls` is not given.

    Raises:
        ConfigError: An argument is invalid, or the name is taken; the message says what to write instead.
    """
    if cls is None:
        return functools.partial(register, name=name, channels=channels, repeats=repeats, override=override)
    if not (isinstance(cls, type) and issubclass(cls, nn.Module)):
        raise ConfigError(
            f"register: {cls!r} is no nn.Module class; register a class that inherits from torch.nn.Module"
        )
    row_name = cls.__name__ if name is None else name
    where = f"register {row_name}"
    if "<locals>" in cls.__qualname__:
        function = cls.__qualname__.partition(".<locals>")[0]
        raise ConfigError(
            f"{where}: it is defined inside the function {function}, and a checkpoint names a class by its file alone; "
            "define it at the top of the file"
        )
    rule = _RULES.get(channels) if isinstance(channels, str) else channels
    if not callable(rule):
        raise ConfigError(f'{where}: channels={channels!r}: write "same", "scaled" or a function')
    if repeats and rule is not scaled_channels:
        raise ConfigError(f'{where}: repeats=True goes with channels="scaled", whose constructor is (c1, c2, n, *args)')
    if not row_name.isidentifier():
        raise ConfigError(f"{where}: name={row_name!r}: write a name of letters, digits and underscores")
    entry = Registered(cls, rule, repeats, override)
    _check_constructor(cls, where, entry.leading_arguments)
    with _lock:
        _check_name(row_name, entry, where)
        _modules[row_name] = entry
        allow(cls)
    if cls.__module__ == "__main__":
        warnings.warn(
            f"{where}: what is defined in __main__ is not available in child processes or where a checkpoint is "
            f"loaded; move it to a file of its own and name that in {environment.MODULES}",
            stacklevel=2,
        )
    elif cls.__module__ != "__mp_main__":  # a spawned child's copy of __main__; the parent has already warned
        _tell_children(row_name, entry)
    return cls


def register_described(name: str, options: Mapping[str, Any]) -> None:
    """Register a module that another process has described by `children.tell_registration`.

    Args:
        name: Its name in rows.
        options: The import paths of the class (`cls`) and of the channel rule (`rule`, None if it has none), `repeats`
            and `override`.

    Raises:
        ConfigError: The channel rule cannot be imported.
    """
    if options["rule"] is None:
        raise ConfigError(
            f"register {name}: its channel rule is a lambda or defined inside a function, which child processes cannot "
            "import; define it at the top of a file"
        )
    rule = _resolve(options["rule"])
    register(
        _resolve(options["cls"]), name=name, channels=rule, repeats=options["repeats"], override=options["override"]
    )


def _tell_children(name: str, entry: Registered) -> None:
    """Describe a registered module to child processes, and where its file is if it is not an installed one."""
    rule = None if "<" in getattr(entry.rule, "__qualname__", "<") else _path(entry.rule)
    options = {"cls": _path(entry.cls), "rule": rule, "repeats": entry.repeats, "override": entry.override}
    children.tell_registration(name, options)
    for value in (entry.cls, entry.rule):
        top = (getattr(value, "__module__", None) or "").partition(".")[0]
        location = finder.location_of(sys.modules[top]) if top in sys.modules else None
        if location is None or top == "yolo_focal" or any(folder in location.parents for folder in _INSTALLED):
            continue
        children.tell_file(top, location)


def _path(value: Any) -> str:
    return f"{value.__module__}:{value.__qualname__}"


def _resolve(path: str) -> Any:
    module, _, names = path.partition(":")
    return functools.reduce(getattr, names.split("."), importlib.import_module(module))


def add_built_in(name: str, entry: Registered) -> None:
    """Add a module of this package's own that cannot be imported before Ultralytics; has no effect the second time."""
    with _lock:
        if name not in _built_in:
            _built_in[name] = entry
            _modules.setdefault(name, entry)
        allow(entry.cls)


def find(name: str) -> Registered | None:
    """Return the module registered under a name, or None."""
    return _modules.get(name)


def registered() -> dict[str, Registered]:
    """Return all registered modules by name."""
    return dict(_modules)


def has_registered(layers: nn.Module) -> bool:
    """Return whether a network's layers are registered modules, some of them, repeated or held ones included."""
    classes = tuple(entry.cls for entry in _modules.values())
    return any(isinstance(part, classes) for layer in layers.children() for part in (layer, *layer.children()))


def is_built_in(name: str) -> bool:
    """Return whether a name means a module of this package's, and no one has registered another in its place."""
    return name in _built_in and _modules[name].cls is _built_in[name].cls


def is_registered(name: str) -> bool:
    """Return whether a name has been registered, here or by the user; the package's own modules do not count."""
    return name in _modules and not is_built_in(name)


def _check_constructor(cls: type[nn.Module], where: str, leading_arguments: int) -> None:
    """Raise ConfigError if a constructor cannot take the arguments that come from the channel rule."""
    parameters = inspect.signature(cls).parameters.values()
    positional = [p for p in parameters if p.kind in {p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD}]
    if len(positional) < leading_arguments and not any(p.kind is p.VAR_POSITIONAL for p in parameters):
        call = {1: "(dim, ...)", 2: "(c1, c2, ...)", 3: "(c1, c2, n, ...)"}[leading_arguments]
        raise ConfigError(f"{where}: its constructor is {inspect.signature(cls)}, and it is called with {call}")


def _check_name(name: str, entry: Registered, where: str) -> None:
    previous = _modules.get(name)
    is_own = name in _built_in and entry.cls is _built_in[name].cls
    # The same import path means that its file was imported again, which may replace the class.
    # The package's commands derive and read FocalModulation by its name.
    may_replace = is_built_in(name) and name != "FocalModulation"
    if previous is not None and not may_replace and _path(previous.cls) != _path(entry.cls):
        owner = _path(previous.cls).replace(":", ".")
        raise ConfigError(f"{where}: {owner} has that name already; write name= with another")
    tasks = sys.modules.get(_TASKS)
    if tasks is not None and name in vars(tasks) and not entry.override and not is_own:
        raise name_is_taken(where)


def name_is_taken(where: str) -> ConfigError:
    """Return the error for a name that Ultralytics has."""
    return ConfigError(f"{where}: Ultralytics has that name already; write name= with another, or override=True")


def allow_users_classes() -> None:
    """Allow the layers that registered modules are made of in restricted checkpoint loading.

    These are the `nn.Module` classes of the files that the registered classes are defined in, and of the user's files
    that those import.
    """
    names = {entry.cls.__module__ for entry in _modules.values()}
    names |= {name for name in list(sys.modules) if name.partition(".")[0] in children.files()}
    for name in names:
        for value in list(vars(sys.modules.get(name, object)).values()):
            if isinstance(value, type) and issubclass(value, nn.Module) and value.__module__ == name:
                allow(value)


def allow(cls: type) -> None:
    """Allow a class in restricted checkpoint loading (`torch.load` with `weights_only=True`)."""
    if hasattr(torch.serialization, "add_safe_globals"):  # torch 2.4 and later
        torch.serialization.add_safe_globals([cls])


# The layers of the built-in modules too.
for _cls in (C2FocalBlock, DropPath, FocalBlock, Holder, LayerScale, Mlp, *(entry.cls for entry in _built_in.values())):
    allow(_cls)
