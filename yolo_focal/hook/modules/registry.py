"""The table of the modules that model YAML rows may name beyond Ultralytics' own."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

from torch import nn

from yolo_focal.backbones import Timm, TimmMap
from yolo_focal.collection import CAFM, EMA, MSDA, MSFN, C2fDynamic, C2fSnake, DynamicConv, DySnakeConv, ODConv
from yolo_focal.errors import ConfigError
from yolo_focal.focal import (
    C2Focal,
    C2FocalBlock,
    C3k2Focal,
    DropPath,
    FocalBlock,
    FocalEmbed,
    FocalModulation,
    FocalNet,
    FocalNorm,
    FocalStage,
    LayerScale,
    Mlp,
    ShortcutBottleneck,
)
from yolo_focal.hook.forks import BackboneMap
from yolo_focal.hook.holder import Holder
from yolo_focal.hook.modules import safe_globals
from yolo_focal.hook.modules.channels import (
    Rule,
    given_channels,
    same_channels,
    same_channels_and_repeats,
    timm_channels,
    timm_map_channels,
)

_TASKS = "ultralytics.nn.tasks"  # its globals are the names that a row may use; not imported here


class Registered(NamedTuple):
    """A registered module.

    Attributes:
        cls: The class, or a function that returns a module.
        rule: Its channel rule; None if its rows are read as those of another class.
        like: That class, or its name in rows; None for the nearest class of Ultralytics that it is or inherits from.
        override: Whether it takes precedence over a module of the same name in Ultralytics.
    """

    cls: Callable[..., nn.Module]
    rule: Rule | None = None
    like: str | type[nn.Module] | None = None
    override: bool = False


# This package's own modules. A module of the same name in Ultralytics or of the user's own takes precedence.
_built_in = {
    "FocalModulation": Registered(FocalModulation, same_channels),
    "C2Focal": Registered(C2Focal, same_channels_and_repeats),
    "C3k2Focal": Registered(C3k2Focal, like="C2f"),
    "FocalEmbed": Registered(FocalEmbed, given_channels),
    "FocalStage": Registered(FocalStage, same_channels),
    "FocalNorm": Registered(FocalNorm, same_channels),
    "EMA": Registered(EMA, same_channels),
    "MSDA": Registered(MSDA, same_channels),
    "CAFM": Registered(CAFM, same_channels),
    "MSFN": Registered(MSFN, same_channels),
    "ODConv": Registered(ODConv, like="Conv"),
    "DynamicConv": Registered(DynamicConv, like="Conv"),
    "C2fDynamic": Registered(C2fDynamic, like="C2f"),
    "DySnakeConv": Registered(DySnakeConv, like="Conv"),
    "C2fSnake": Registered(C2fSnake, like="C2f"),
    "Timm": Registered(Timm, timm_channels),
    "TimmMap": Registered(TimmMap, timm_map_channels),
}
_modules = dict(_built_in)
_refused: dict[str, str] = {}
_lock = threading.Lock()


def import_path(value: Any) -> str:
    """Return the import path of a class or a function, `module:name`."""
    return f"{value.__module__}:{value.__qualname__}"


def add_built_in(name: str, entry: Registered) -> None:
    """Add a module of this package's own that cannot be imported before Ultralytics; has no effect the second time."""
    with _lock:
        if name not in _built_in:
            _built_in[name] = entry
            _modules.setdefault(name, entry)
        safe_globals.allow(entry.cls)  # type: ignore[arg-type]


def find(name: str, of_package: bool = False) -> Registered | None:
    """Return the module registered under a name, or None.

    Args:
        name: The name in rows.
        of_package: Whether the row is one of this package's own YAML files, whose FocalModulation is this package's.
    """
    return _built_in[name] if of_package and name == "FocalModulation" else _modules.get(name)


def refuse(name: str, reason: str) -> None:
    """Let rows of a name be refused, for which a module of the user's own could not be registered."""
    _refused[name] = reason


def refusal_of(name: str) -> str | None:
    """Return why no module of the user's own is registered under a name that one was to be; None if there was none."""
    return _refused.get(name)


def registered() -> dict[str, Registered]:
    """Return all registered modules by name."""
    return dict(_modules)


def has_registered(layers: nn.Module) -> bool:
    """Return whether a network's layers are registered modules, some of them, repeated or held ones included."""
    classes = tuple(entry.cls for entry in _modules.values() if isinstance(entry.cls, type))
    return any(isinstance(part, classes) for layer in layers.children() for part in (layer, *layer.children()))


def is_built_in(name: str) -> bool:
    """Return whether a name means a module of this package's, and no one has registered another in its place."""
    return name in _built_in and _modules[name].cls is _built_in[name].cls


def is_registered(name: str) -> bool:
    """Return whether a name has been registered, here or by the user; the package's own modules do not count."""
    return name in _modules and not is_built_in(name)


def add(name: str, entry: Registered, where: str) -> None:
    """Add a module of the user's own.

    Args:
        name: Its name in rows.
        entry: The module.
        where: What begins a message.

    Raises:
        ConfigError: The name is taken.
    """
    with _lock:
        _check_name(name, entry, where)
        _modules[name] = entry
        _refused.pop(name, None)


def _check_name(name: str, entry: Registered, where: str) -> None:
    previous = _modules.get(name)
    is_own = name in _built_in and entry.cls is _built_in[name].cls
    # The same import path means that its file was imported again, which may replace the class.
    # The package's commands derive and read FocalModulation by its name, as users who do not know of it expect.
    may_replace = is_built_in(name) and (name != "FocalModulation" or entry.override)
    if previous is not None and not may_replace and import_path(previous.cls) != import_path(entry.cls):
        owner = import_path(previous.cls).replace(":", ".")
        instead = ", or override=True for the rows of your own YAML files" if is_built_in(name) else ""
        raise ConfigError(f"{where}: {owner} has that name already; write name= with another{instead}")
    tasks = sys.modules.get(_TASKS)
    if tasks is not None and name in vars(tasks) and not entry.override and not is_own:
        raise name_is_taken(where)


def name_is_taken(where: str) -> ConfigError:
    """Return the error for a name that Ultralytics has."""
    return ConfigError(f"{where}: Ultralytics has that name already; write name= with another, or override=True")


def restore(name: str) -> bool:
    """Let a name mean this package's own module again; return whether the user had registered another."""
    with _lock:
        replaced = not is_built_in(name)
        _modules[name] = _built_in[name]
    return replaced


def allow_users_classes() -> None:
    """Allow the layers that registered modules are made of in restricted checkpoint loading.

    These are the `nn.Module` classes of the files that the registered classes are defined in, and of the user's files
    that those import.
    """
    safe_globals.allow_layers_of(entry.cls.__module__ for entry in registered().values())


# The layers of the built-in modules too.
safe_globals.allow(
    BackboneMap, C2FocalBlock, DropPath, FocalBlock, FocalNet, Holder, LayerScale, Mlp, ShortcutBottleneck
)
safe_globals.allow(*(entry.cls for entry in _built_in.values()))  # type: ignore[arg-type]
