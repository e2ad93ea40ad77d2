"""Which of Ultralytics' own classes the rows of a registered module are read as."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from torch import nn

from yolo_focal.errors import ConfigError
from yolo_focal.hook.modules.channels import Rule, same_channels
from yolo_focal.hook.modules.registry import Registered

_globals: Mapping[str, Any] = {}
_names: frozenset[str] = frozenset()
_leaves_nc = False


def use(parser_globals: Mapping[str, Any], parser_names: Iterable[str], parser_leaves_nc: bool) -> None:
    """Say which parser is asked.

    Args:
        parser_globals: The globals of Ultralytics' parser.
        parser_names: The names in its code: of classes whose rows it reads in a way of their own, among others.
        parser_leaves_nc: Whether it scales no row that has as many channels as there are classes.
    """
    global _globals, _names, _leaves_nc
    _globals, _names, _leaves_nc = parser_globals, frozenset(parser_names), parser_leaves_nc


def leaves_nc() -> bool:
    """Return whether the parser scales no row that has as many channels as there are classes."""
    return _leaves_nc


def read_as(name: str, entry: Registered) -> type[nn.Module] | None:
    """Return the class as whose rows Ultralytics' own parser reads those of a registered module; None if it has a rule.

    That is what `like` names, else, without a channel rule, the nearest class that the module is or inherits from and
    that the parser knows by name.

    Args:
        name: The module's name in rows.
        entry: The module.

    Raises:
        ConfigError: `like` names no module of Ultralytics.
    """
    if entry.like is not None:
        found = _find(entry.like) if isinstance(entry.like, str) else entry.like
        if not (isinstance(found, type) and issubclass(found, nn.Module)):
            raise ConfigError(
                f"register {name}: like={entry.like!r}: Ultralytics has no module of that name; write the name of one "
                'as in a row, such as like="C2f"'
            )
        return found
    if entry.rule is not None or not isinstance(entry.cls, type):
        return None
    known = (base for base in entry.cls.__mro__ if _globals.get(base.__name__) is base and base.__name__ in _names)
    return next((base for base in known if issubclass(base, nn.Module)), None)


def shown_to_parser(name: str, entry: Registered) -> type[nn.Module]:
    """Return the class that Ultralytics' parser gets for a registered module's name.

    Its dispatch compares classes, and under restricted loading it asks for a class of layers.
    """
    found = read_as(name, entry)
    if found is None:
        found = entry.cls if isinstance(entry.cls, type) else nn.Module
    return found


def rule_of(name: str, entry: Registered) -> Rule | None:
    """Return the channel rule by which a registered module's rows are read; None if they are read as a class's are."""
    if entry.like is not None or read_as(name, entry) is not None:
        return None
    return entry.rule or same_channels


def _find(name: str) -> Any:
    """Return what a row's name means to Ultralytics' parser."""
    return getattr(nn, name[3:], None) if name.startswith("nn.") else _globals.get(name)
