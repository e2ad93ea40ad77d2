"""Imports the user's files that register modules, before the first model is built or checkpoint loaded."""

from __future__ import annotations

import importlib
import keyword
import logging
import os
import re
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, NamedTuple

from yolo_focal import environment
from yolo_focal.errors import ConfigError
from yolo_focal.hook import forks
from yolo_focal.hook.modules import children, finder, registration, registry
from yolo_focal.hook.tracebacks import describe_error

GROUP = "yolo_focal.modules"
_LOGGER = logging.getLogger("yolo_focal")

failures: dict[str, str] = {}  # where a module is named -> why it could not be imported

_lock = threading.RLock()
_loading = False
_loaded: set[str] = set()


class _Named(NamedTuple):
    """A module that `YOLO_FOCAL_MODULES` names.

    Attributes:
        name: Its import name, which may have dots.
        location: The file or package folder of its first part; None for an installed module.
    """

    name: str
    location: Path | None


def load(beside: str = "") -> None:
    """Import the modules of `YOLO_FOCAL_MODULES` and of the entry points of the group `yolo_focal.modules`.

    Then registers what a parent process had registered. A failed import is logged as a warning, recorded in `failures`
    and tried again by the next call; the others are still imported. What is loaded is not loaded again.

    Args:
        beside: A model YAML; files are looked for in the working directory, then beside it.
    """
    global _loading
    finder.install()
    forks.install()
    with _lock:
        if _loading:  # a user's file that builds a model
            return
        _loading = True
        try:
            folders = list(dict.fromkeys([Path.cwd(), *([Path(beside).absolute().parent] if beside else [])]))
            for entry in from_environment():
                _try(f"{environment.MODULES}: {entry}", _load_entry, entry, folders)
            for point in from_entry_points():
                _try(f"entry point {point.name} of {GROUP}: {point.value}", _load_entry_point, point.value)
            for name, options in children.registrations().items():
                _try(f"{name}, registered by the parent process", _register_again, name, options)
        finally:
            _loading = False


def from_environment() -> list[str]:
    """Return the files and modules that `YOLO_FOCAL_MODULES` lists."""
    return [entry for entry in (part.strip() for part in os.environ.get(environment.MODULES, "").split(",")) if entry]


def from_entry_points() -> list[Any]:
    """Return the entry points of the group `yolo_focal.modules`."""
    return list(entry_points(group=GROUP))


def _try(origin: str, function: Any, *args: Any) -> None:
    """Call a function once; on failure log a warning that names its origin."""
    if origin in _loaded:
        return
    with registration.refusals_collected() as reasons:
        try:
            function(*args)
            _loaded.add(origin)
        except (Exception, SystemExit) as error:  # no error in a user's file may stop Ultralytics
            reasons.append(str(error) if isinstance(error, ConfigError) else describe_error(error))
    reason = "; ".join(reasons)
    if reason and failures.get(origin) != reason:
        _LOGGER.warning(f"yolo-focal: {origin}: {reason}")
    failures.pop(origin, None)
    if reason:
        failures[origin] = reason


class _UnusableError(ConfigError):
    """What `YOLO_FOCAL_MODULES` names is no module that can be imported."""


def _load_entry(entry: str, folders: Sequence[Path]) -> None:
    fork = next((path for folder in folders if forks.is_fork(path := folder / Path(entry).expanduser())), None)
    if fork is not None:
        forks.use(fork)
        _replace_in_environment(entry, str(fork.resolve()))
        return
    name, location = _resolve(entry, folders)
    top = name.partition(".")[0]
    is_new = name not in sys.modules
    before = registry.registered()
    if location is None:
        _import(name)
    else:
        known = top in children.files()
        children.tell_file(top, location)
        try:
            _import(name)
        except BaseException as error:
            if not known:
                children.forget_file(top)
            if isinstance(error, ImportError) and re.search(r", line \d+: from \.", describe_error(error)):
                raise _UnusableError(
                    f"{describe_error(error)}. It imports relatively, so it is imported as if it stood in "
                    "ultralytics/nn/modules: what is not there, paste into it, or import from a file beside it without "
                    "the dot, such as from other import Block"
                ) from error
            raise
        _replace_in_environment(entry, name)
    if is_new and registry.registered() == before and not registration.has_refused():
        found = finder.location_of(sys.modules[name])
        _LOGGER.warning(
            f"yolo-focal: {environment.MODULES}: {entry}: it was imported from {found} and registers nothing; write "
            "@yolo_focal.register above a class in it, or the path of the file that is meant"
        )


def _load_entry_point(value: str) -> None:
    _import(value.partition(":")[0])


def _register_again(name: str, options: dict[str, Any]) -> None:
    if not registry.is_registered(name):
        _import(options["cls"].partition(":")[0])  # where the class is; most files register theirs
    if not registry.is_registered(name):
        registration.register_described(name, options)


def _import(name: str) -> None:
    """Import a module, which may import the files beside it if it is a user's file."""
    location = children.files().get(name.partition(".")[0])
    with nullcontext() if location is None else finder.neighbours_of(Path(location).parent):
        importlib.import_module(name)


def _replace_in_environment(entry: str, name: str) -> None:
    """Name a module by its import name, and a fork by its whole path: a child process may run in another folder."""
    entries = [name if listed == entry else listed for listed in from_environment()]
    os.environ[environment.MODULES] = ",".join(entries)
    _loaded.add(f"{environment.MODULES}: {name}")


def _resolve(entry: str, folders: Sequence[Path]) -> _Named:
    """Return the module that an entry of `YOLO_FOCAL_MODULES` means.

    Args:
        entry: An import name, a file's name, or a path.
        folders: Where to look.

    Raises:
        ConfigError: There is no such module, it cannot be imported by its name, or Python has another one of that name.
    """
    if Path(entry).name == "__init__.py":
        raise _UnusableError(f"it is a package: name its folder, {Path(entry).parent}")
    is_path = entry.endswith(".py") or any(separator in entry for separator in ("/", os.sep))
    name = Path(entry).name.removesuffix(".py") if is_path else entry
    for part in name.split("."):
        if not part.isidentifier() or keyword.iskeyword(part):
            raise _UnusableError(
                f"{part!r} is no name that Python can import: rename the file, to letters, digits and underscores"
            )
    top = name.partition(".")[0]
    if not is_path and top in children.files():
        return _Named(name, Path(children.files()[top]))
    location = next(_candidates(Path(entry).expanduser() if is_path else Path(top), is_path, folders), None)
    elsewhere = finder.find_elsewhere(top, None if location is None else location.parent)
    if location is not None and elsewhere is not None and Path(elsewhere).resolve() != location.resolve():
        raise _UnusableError(
            f"{location} has the name of another module, {elsewhere}, which Python imports by that name: rename the "
            "file"
        )
    if location is None and (is_path or (elsewhere is None and name not in sys.modules)):
        raise _UnusableError(f"there is no such file in {' or '.join(map(str, folders))}, and no installed module")
    return _Named(name, location)


def _candidates(path: Path, is_path: bool, folders: Sequence[Path]) -> Iterator[Path]:
    """Yield the files and package folders that a name means, the most likely first."""
    for folder in folders:
        here = folder / path  # `folder` has no effect on an absolute path
        if not is_path and here.with_suffix(".py").is_file():
            yield here.with_suffix(".py")
        if here.is_file() or (here / "__init__.py").is_file() or (here.is_dir() and not is_path):
            yield here
