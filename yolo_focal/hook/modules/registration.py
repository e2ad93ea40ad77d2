"""Registers modules of the user's own, in this process and in its children."""

from __future__ import annotations

import contextlib
import functools
import importlib
import inspect
import sys
import sysconfig
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Any, TypeVar, overload

from torch import nn

from yolo_focal import environment
from yolo_focal.errors import ConfigError
from yolo_focal.hook.modules import children, finder, registry, safe_globals
from yolo_focal.hook.modules.channels import LEADING_ARGUMENTS, Rule, same_channels
from yolo_focal.hook.modules.registry import Registered, import_path
from yolo_focal.hook.tracebacks import describe_refusal

_Module = TypeVar("_Module", bound="Callable[..., nn.Module]")
_NO_PATH = "<no path>"  # in the place of the import path of a rule that has none
_INSTALLED = {Path(sysconfig.get_path(key)).resolve() for key in ("purelib", "platlib", "stdlib", "platstdlib")}
_refusals: ContextVar[list[str] | None] = ContextVar("refusals", default=None)


@overload
def register(cls: _Module, /) -> _Module: ...


@overload
def register(
    cls: _Module,
    /,
    *,
    name: str | None = None,
    like: str | type[nn.Module] | None = None,
    channels: str | Rule | None = None,
    override: bool = False,
) -> _Module: ...


@overload
def register(
    *,
    name: str | None = None,
    like: str | type[nn.Module] | None = None,
    channels: str | Rule | None = None,
    override: bool = False,
) -> Callable[[_Module], _Module]: ...


def register(
    cls: Any = None,
    /,
    *,
    name: str | None = None,
    like: str | type[nn.Module] | None = None,
    channels: str | Rule | None = None,
    override: bool = False,
) -> Any:
    """Register a module for rows of model YAMLs, as a decorator with or without arguments or as a function.

    Its rows are read by Ultralytics' own parser as those of another class, its constructor being called with what that
    class's would be: of the one that `like` names, else of the nearest one that it is or inherits from. Where there is
    none, the constructor is `(dim, *args)`, and there are as many output channels as input channels.

    The class itself is not changed. Child processes register it too. To be registered in every process, it needs a file
    of its own, which the environment variable `YOLO_FOCAL_MODULES` names, or an entry point of the group
    `yolo_focal.modules`.

    Args:
        cls: The class, a subclass of `torch.nn.Module`, or a function that returns a module.
        name: Its name in rows; by default the class's own name.
        like: The class whose rows are read in the same way, or its name in rows, such as "C2f" or "nn.Identity".
        channels: A channel rule in the place of `like`: a function of the input channels (a list if the row reads
            several layers), the row's arguments and a `Scaling`, which returns the row's output channels, the
            constructor's arguments and, optionally, how many layers are stacked (the row's repeats by default). Or
            "same", for a class that inherits from one of Ultralytics' but is called with `(dim, *args)`.
        override: Take precedence over a module of the same name in Ultralytics; of the name FocalModulation, over this
            package's, in rows of YAML files that are not this package's.

    Returns:
        The class, or a decorator if `cls` is not given.

    Raises:
        ConfigError: An argument is invalid, or the name is taken; the message says what to write instead. While a file
            of `YOLO_FOCAL_MODULES` is imported, this is logged, and the others of the file are registered.
    """
    if cls is None:
        return functools.partial(register, name=name, like=like, channels=channels, override=override)
    try:
        _register(cls, name, like, channels, override)
    except ConfigError as error:
        refusals = _refusals.get()
        if refusals is None:
            raise
        refusals.append(describe_refusal(error))
        registry.refuse(str(name or getattr(cls, "__name__", "")), refusals[-1])
    return cls


@contextlib.contextmanager
def refusals_collected() -> Iterator[list[str]]:
    """Collect what `register` refuses, in the place of an error that would end the import of a file."""
    refusals: list[str] = []
    token = _refusals.set(refusals)
    try:
        yield refusals
    finally:
        _refusals.reset(token)


def has_refused() -> bool:
    """Return whether `register` has refused anything since `refusals_collected` was entered."""
    return bool(_refusals.get())


def _register(cls: Any, name: str | None, like: Any, channels: Any, override: bool) -> None:
    is_class = isinstance(cls, type) and issubclass(cls, nn.Module)
    if not is_class and not inspect.isfunction(cls):
        raise ConfigError(
            f"register: {cls!r} is no nn.Module class; register a class that inherits from torch.nn.Module, or a "
            "function that returns a module"
        )
    row_name = cls.__name__ if name is None else name
    where = f"register {row_name}"
    if "<locals>" in cls.__qualname__:
        function = cls.__qualname__.partition(".<locals>")[0]
        raise ConfigError(
            f"{where}: it is defined inside the function {function}, and a checkpoint names a class by its file alone; "
            "define it at the top of the file"
        )
    rule = same_channels if channels == "same" else channels
    if not is_class and rule is None and like is None:
        raise ConfigError(
            f"{where}: what a function is called with is not to be guessed; write channels= with a function, or like= "
            'with the module of Ultralytics whose rows are read in the same way, such as like="Conv"'
        )
    if rule is not None and not callable(rule):
        raise ConfigError(
            f'{where}: channels={channels!r}: write a function or "same"; or like= with the module of Ultralytics '
            'whose rows are read in the same way, such as like="Conv"'
        )
    if like is not None and rule is not None:
        raise ConfigError(f"{where}: like={like!r} and channels={channels!r}: write one of them")
    if like is not None and not (isinstance(like, str) or (isinstance(like, type) and issubclass(like, nn.Module))):
        raise ConfigError(f'{where}: like={like!r}: write a class or its name in rows, such as like="C2f"')
    if not row_name.isidentifier():
        raise ConfigError(f"{where}: name={row_name!r}: write a name of letters, digits and underscores")
    entry = Registered(cls, rule, like, override)
    may_be_like_a_base = is_class and any(base.__module__.startswith("ultralytics.") for base in cls.__mro__)
    if like is None and not may_be_like_a_base:
        _check_constructor(cls, where, LEADING_ARGUMENTS.get(rule or same_channels, 0))
    registry.add(row_name, entry, where)
    if is_class:
        safe_globals.allow(cls)
    if cls.__module__ == "__main__":
        warnings.warn(
            f"{where}: what is defined in __main__ is not available in child processes or where a checkpoint is "
            f"loaded; move it to a file of its own and name that in {environment.MODULES}",
            stacklevel=3,
        )
    elif cls.__module__ != "__mp_main__":  # a spawned child's copy of __main__; the parent has already warned
        _tell_children(row_name, entry)


def register_described(name: str, options: Mapping[str, Any]) -> None:
    """Register a module that another process has described by `children.tell_registration`.

    Args:
        name: Its name in rows.
        options: The import paths of the class (`cls`) and of the channel rule (`rule`, None if it has none), `like`
            (a name, or an import path if it has a colon) and `override`.

    Raises:
        ConfigError: The channel rule cannot be imported.
    """
    rule, like = options["rule"], options["like"]
    if rule == _NO_PATH:
        raise ConfigError(
            f"register {name}: its channel rule is a lambda or defined inside a function, which child processes cannot "
            "import; define it at the top of a file"
        )
    register(
        _resolve(options["cls"]),
        name=name,
        like=_resolve(like) if like is not None and ":" in like else like,
        channels=None if rule is None else _resolve(rule),
        override=options["override"],
    )


def _tell_children(name: str, entry: Registered) -> None:
    """Describe a registered module to child processes, and where its file is if it is not an installed one."""
    rule = None
    if entry.rule is not None:
        rule = _NO_PATH if "<" in getattr(entry.rule, "__qualname__", "<") else import_path(entry.rule)
    like = import_path(entry.like) if isinstance(entry.like, type) else entry.like
    children.tell_registration(
        name, {"cls": import_path(entry.cls), "rule": rule, "like": like, "override": entry.override}
    )
    for value in (entry.cls, entry.rule, entry.like):
        top = (getattr(value, "__module__", None) or "").partition(".")[0]
        location = finder.location_of(sys.modules[top]) if top in sys.modules else None
        if location is None or top == "yolo_focal" or any(folder in location.parents for folder in _INSTALLED):
            continue
        children.tell_file(top, location)


def _resolve(path: str) -> Any:
    module, _, names = path.partition(":")
    return functools.reduce(getattr, names.split("."), importlib.import_module(module))


def _check_constructor(cls: Callable[..., nn.Module], where: str, leading_arguments: int) -> None:
    """Raise ConfigError if a constructor cannot take the arguments that come from the channel rule."""
    parameters = inspect.signature(cls).parameters.values()
    positional = [p for p in parameters if p.kind in {p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD}]
    if len(positional) < leading_arguments and not any(p.kind is p.VAR_POSITIONAL for p in parameters):
        raise ConfigError(f"{where}: its constructor is {inspect.signature(cls)}, and it is called with (dim, ...)")
