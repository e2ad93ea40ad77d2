"""Finds the files of a user's modules for Python's import system, without a change of `sys.path`."""

from __future__ import annotations

import ast
import contextlib
import sys
import threading
from collections.abc import Iterator, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType

from yolo_focal.hook.modules import children


class _KnownFiles:
    """Finds the modules whose location this process or a parent process has recorded (`children.tell_file`).

    It comes before Python's own finders: a child process may run in a folder with another file of that name, and a
    checkpoint names its classes by the module's name alone.
    """

    @staticmethod
    def find_spec(
        name: str,
        path: Sequence[str] | None = None,
        target: ModuleType | None = None,  # noqa: ARG004  the import system gives it
    ) -> ModuleSpec | None:
        location = children.files().get(name) if path is None else None
        return None if location is None else _spec(name, Path(location))


class _Neighbours:
    """Finds the files beside a user's file while that is being imported, by the thread that imports it.

    It comes after Python's own finders, as the last folder of `sys.path` would.
    """

    def __init__(self) -> None:
        self._importing = threading.local()

    def find_spec(
        self,
        name: str,
        path: Sequence[str] | None = None,
        target: ModuleType | None = None,  # noqa: ARG002  the import system gives it
    ) -> ModuleSpec | None:
        folder = getattr(self._importing, "folder", None)
        return PathFinder.find_spec(name, [folder]) if folder is not None and path is None else None

    @contextlib.contextmanager
    def of(self, folder: Path) -> Iterator[None]:
        """Find the files in a folder too, and record which are imported, for child processes."""
        before, outer = set(sys.modules), getattr(self._importing, "folder", None)
        self._importing.folder = str(folder)
        try:
            yield
        finally:
            self._importing.folder = outer
        for name in set(sys.modules) - before:
            location = location_of(sys.modules[name])
            if "." not in name and location is not None and location.parent == folder.resolve():
                children.tell_file(name, location)


_neighbours = _Neighbours()
neighbours_of = _neighbours.of


def install() -> None:
    """Add the finders to the import system; has no effect if they are there."""
    if _KnownFiles not in sys.meta_path:
        sys.meta_path.insert(0, _KnownFiles)  # type: ignore[arg-type]
    if _neighbours not in sys.meta_path:
        sys.meta_path.append(_neighbours)


def uninstall() -> None:
    """Remove the finders from the import system; has no effect if they are not there."""
    # A new list, as an import in another thread that is at some place of the present one would miss a finder.
    sys.meta_path = [finder for finder in sys.meta_path if finder is not _KnownFiles and finder is not _neighbours]


def find_elsewhere(name: str, folder: Path | None) -> str | None:
    """Return where Python finds a top-level module without these finders and without a folder.

    Args:
        name: The module's import name.
        folder: The folder to leave out, even where `sys.path` has it; or None.

    Returns:
        The file, the folder of a package, or "Python itself"; None if Python does not find the module.
    """
    paths = [path for path in sys.path if folder is None or Path(path).resolve() != folder.resolve()]
    for finder in list(sys.meta_path):
        if finder is _KnownFiles or finder is _neighbours:
            continue
        find_spec = getattr(finder, "find_spec", None)
        spec = PathFinder.find_spec(name, paths) if finder is PathFinder else find_spec and find_spec(name, None)
        if spec is not None:
            locations = list(spec.submodule_search_locations or [])
            has_file = spec.origin is not None and Path(spec.origin).is_file()
            return str(spec.origin) if has_file else locations[0] if locations else "Python itself"
    return None


def location_of(module: ModuleType) -> Path | None:
    """Return a module's file, or a package's folder; None if it has neither."""
    folders = list(getattr(module, "__path__", None) or [])
    file = getattr(module, "__file__", None)
    location = folders[0] if folders else file
    return None if location is None else Path(location).resolve()


def imports_relatively(file: Path) -> bool:
    """Return whether a file has an import such as `from .conv import Conv`, as those in Ultralytics' folders have."""
    try:
        tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return False
    return any(isinstance(node, ast.ImportFrom) and node.level > 0 for node in ast.walk(tree))


class _SpecInUltralytics(ModuleSpec):
    """The spec of a top-level file whose relative imports mean what they mean in `ultralytics/nn/modules`."""

    @property
    def parent(self) -> str:
        return "ultralytics.nn.modules"


def _spec(name: str, location: Path) -> ModuleSpec | None:
    if location.is_file():
        spec = spec_from_file_location(name, location)
        if spec is not None and imports_relatively(location):
            spec.__class__ = _SpecInUltralytics
        return spec
    if (location / "__init__.py").is_file():
        return spec_from_file_location(name, location / "__init__.py", submodule_search_locations=[str(location)])
    if location.is_dir():  # a folder without __init__.py is a namespace package
        spec = ModuleSpec(name, None, is_package=True)
        spec.submodule_search_locations = [str(location)]
        return spec
    return None
