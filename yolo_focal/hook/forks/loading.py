"""Imports module files of a fork beside the installed Ultralytics, none of whose classes changes.

A file of the fork is imported under a name of its own, in `yolo_focal_fork`, where its imports of other module files
mean the fork's and all others the installed release's. A class or function that the fork has unchanged is the
release's own there, so that what Ultralytics asks of it (`isinstance(m, Conv)`) still holds.

What only the fork has is found under the name that it has in the fork too, `ultralytics.nn.modules.SomeBlock` or
`ultralytics.nn.modules.block.C2f_Some`: that is what its checkpoints name, and new ones.
"""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Sequence
from importlib.abc import Loader
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

from yolo_focal.hook.forks import heads
from yolo_focal.hook.forks.index import HEADS, Defined, Index

PACKAGE = "yolo_focal_fork"
_INIT = ".__init__"


def private(module: str) -> str:
    """Return the name that a file of the fork is imported under."""
    return PACKAGE + module.removeprefix("ultralytics")


class Files:
    """The finder of a fork's files, and what it has imported of them.

    Args:
        index: What the fork's files define.
    """

    def __init__(self, index: Index) -> None:
        self.index = index
        self._extended: list[ModuleType] = []

    def install(self) -> None:
        """Find the fork's files in the import system, behind Ultralytics' own; has no effect if they are found."""
        if self.are_found():
            return
        sys.meta_path.append(self)
        for name in self.index.modules():
            module = importlib.import_module(name)
            if "__getattr__" not in vars(module):
                module.__getattr__ = _Attributes(self, name)  # type: ignore[method-assign]
                self._extended.append(module)

    def are_found(self) -> bool:
        """Return whether the import system finds the files."""
        return self in sys.meta_path

    def uninstall(self) -> None:
        """Take that back; what has been imported stays."""
        sys.meta_path = [finder for finder in sys.meta_path if finder is not self]
        for module in self._extended:
            del module.__getattr__
        self._extended.clear()

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: object = None) -> ModuleSpec | None:  # noqa: ARG002
        """Return how a file of the fork is imported, by its own name or by that which it has in the fork."""
        top, _, rest = name.partition(".")
        if top not in (PACKAGE, "ultralytics"):
            return None
        if name in (PACKAGE, f"{PACKAGE}.nn"):
            return ModuleSpec(name, _Empty(), is_package=True)
        module = f"ultralytics.{rest}".removesuffix(_INIT)
        if not (self.index.is_module(module) or (top == PACKAGE and self.index.file(module))):
            return None
        is_package = self.index.is_package(module) and not rest.endswith(_INIT)
        # A package's own code runs where something is asked for that it defines itself, under the name of its file.
        runs = top == PACKAGE and not is_package
        loader = _Source(self.index, module) if runs else _Attributes(self, module)
        return ModuleSpec(name, loader, is_package=is_package)

    def is_the_releases(self, where: Defined) -> bool:
        """Return whether the installed release defines a name in a file of that import name too."""
        return self.index.is_stock(where.module) and where.name in vars(importlib.import_module(where.module))

    def load(self, where: Defined) -> Any:
        """Import what a file of the fork defines.

        Raises:
            Exception: Whatever the file raises; AttributeError if it does not define it after all.
        """
        name = private(where.module) + (_INIT if self.index.is_package(where.module) else "")
        found = getattr(importlib.import_module(name), where.name)
        return heads.of_release(found) if isinstance(found, type) else found


class _Attributes(Loader):
    """The names of a file of the fork, imported when they are asked for: a module's `__getattr__`."""

    def __init__(self, files: Files, module: str) -> None:
        self._files, self._module = files, module

    def exec_module(self, module: ModuleType) -> None:
        module.__getattr__ = self  # type: ignore[method-assign]

    def __call__(self, name: str) -> Any:
        where = None if name.startswith("__") else self._files.index.definition(self._module, name)
        if where is None:
            raise AttributeError(f"module {self._module!r} has no attribute {name!r}")
        if self._files.index.is_module(where.module):
            return self._files.load(where)
        return getattr(importlib.import_module(where.module), where.name)


class _Empty(Loader):
    """A package without a file."""

    def exec_module(self, module: ModuleType) -> None: ...


class _Source(Loader):
    """Runs a file of the fork, with the installed release's classes and functions where they are the same.

    Nothing is written beside the file, as Python's own loaders do.
    """

    def __init__(self, index: Index, module: str) -> None:
        self._index, self._module = index, module

    def exec_module(self, module: ModuleType) -> None:
        file = str(self._index.file(self._module))
        module.__file__ = file
        parsed = ast.parse(Path(file).read_bytes(), file)
        tree = _Imports(self._index, self._module, parsed).visit(parsed)
        if self._module in self._index.modules() and self._module != HEADS:
            tree.body = [self._same(node) for node in tree.body]
        exec(compile(ast.fix_missing_locations(tree), file, "exec"), vars(module))
        theirs = vars(importlib.import_module(self._module)) if self._index.is_stock(self._module) else {}
        for name, value in list(vars(module).items()):
            if isinstance(value, type) and value.__module__ == module.__name__ and name not in theirs:
                value.__module__ = self._module  # under which checkpoints name it

    def _same(self, node: ast.stmt) -> ast.stmt:
        if not isinstance(node, (ast.ClassDef, ast.FunctionDef)) or Defined(self._module, node.name) in (
            self._index.changed
        ):
            return node
        return ast.copy_location(ast.ImportFrom(self._module, [ast.alias(node.name)], 0), node)


class _Imports(ast.NodeTransformer):
    """Lets the imports of a file mean what they mean in the fork: its own module files, and the release's others.

    A name that the installed release no longer has in one of its files, such as a constant, is the fork's.

    Args:
        index: What the fork's files define.
        module: The file's import name.
        tree: What it says.
    """

    def __init__(self, index: Index, module: str, tree: ast.Module) -> None:
        self._index, self._module = index, module
        self._used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}

    def visit_ImportFrom(self, node: ast.ImportFrom) -> list[ast.ImportFrom]:
        """Return the import under the names that the files have here."""
        source = self._index.absolute(node, self._module)
        if not self._index.is_module(source):
            gone = self._gone(source)
            theirs = [alias for alias in node.names if alias.name in gone]
            ours = [alias for alias in node.names if alias.name not in gone]
            both = (ours, source), (theirs, private(source))
            return [ast.copy_location(ast.ImportFrom(name, names, 0), node) for names, name in both if names]
        if node.names[0].name == "*" and self._index.is_package(source):  # whose names are found one by one
            names = sorted(self._used.intersection(self._index.public(source)))
            node.names = [ast.alias(name) for name in names] or [ast.alias("__name__")]
        return [ast.copy_location(ast.ImportFrom(private(source), node.names, 0), node)]

    def _gone(self, source: str) -> set[str]:
        """Return the names that a file of the fork outside its module files has, and the installed release's lacks.

        Of a package none: its own file runs much else, such as Ultralytics' settings.
        """
        is_file = self._index.file(source) is not None and not self._index.is_package(source)
        if source.partition(".")[0] != "ultralytics" or not is_file:
            return set()
        try:
            theirs = vars(importlib.import_module(source))
        except ModuleNotFoundError:
            theirs = {}
        return set(self._index.public(source)) - theirs.keys()
