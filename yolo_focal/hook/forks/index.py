"""What the files of a fork define, read from their source: nothing of the fork is imported."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

HEADS = "ultralytics.nn.modules.head"
_MODULES = "ultralytics.nn.modules"
_TASKS = "ultralytics.nn.tasks"


class Defined(NamedTuple):
    """Where a name is defined.

    Attributes:
        module: The import name of the file, as in the fork, such as `ultralytics.nn.modules.block`.
        name: Its name there.
    """

    module: str
    name: str


class Index:
    """The module files of a fork: those of `nn/modules` and of the other folders in `nn`.

    Also files beside `nn/tasks.py`, if the installed release does not have them.

    Args:
        root: The fork's folder `ultralytics`.
        stock: The same folder of the installed release.
    """

    def __init__(self, root: Path, stock: Path) -> None:
        self.root, self._stock = root, stock
        self._exports: dict[str, dict[str, Defined]] = {}

    def is_module(self, module: str) -> bool:
        """Return whether an import name means a module file of the fork, or a folder of them."""
        top, *parts = module.split(".")
        if top != "ultralytics" or parts[:1] != ["nn"] or len(parts) < 2:
            return False
        is_in_folder = self.root.joinpath(*parts[:2]).is_dir()
        has_it = self.is_package(module) or self.file(module) is not None
        return has_it and (is_in_folder or not self.is_stock(module))

    def is_stock(self, module: str) -> bool:
        """Return whether the installed release has a file of this import name too."""
        return self._file(self._stock, module) is not None

    def is_package(self, module: str) -> bool:
        """Return whether an import name means a folder of the fork's, with or without an `__init__.py`."""
        folder = self.root.joinpath(*module.split(".")[1:])
        return folder.is_dir() and not folder.with_suffix(".py").is_file()

    def file(self, module: str) -> Path | None:
        """Return the fork's file of an import name, `__init__.py` for a package; None if there is none."""
        return self._file(self.root, module)

    def modules(self) -> list[str]:
        """Return the import names of all module files that Ultralytics' own `nn/modules` has too."""
        files = sorted((self.root / "nn" / "modules").glob("*.py"))
        names = (f"{_MODULES}.{file.stem}" for file in files if file.stem != "__init__")
        return [name for name in names if self.is_stock(name)]

    def rows(self) -> dict[str, Defined]:
        """Return where each name that a row may use is defined, for those that `tasks.py` imports from module files."""
        found = {name: self.definition(_TASKS, name) for name in self._names(_TASKS)}
        return {name: where for name, where in found.items() if where is not None and self.is_module(where.module)}

    def definition(self, module: str, name: str) -> Defined | None:
        """Return where a name of a file is defined; None if the fork does not say."""
        seen: set[Defined] = set()
        where = self._names(module).get(name)
        while where is not None and where.module != module and where not in seen and self.is_module(where.module):
            seen.add(where)
            module = where.module
            where = self._names(module).get(where.name)
        return where

    def public(self, module: str) -> list[str]:
        """Return the names that `from module import *` gives: those of `__all__`, else all without an underscore."""
        listed = _listed(self._tree(self.root, module))
        return [name for name in self._names(module) if (name in listed if listed else not name.startswith("_"))]

    @functools.cached_property
    def changed(self) -> frozenset[Defined]:
        """The definitions of `nn/modules` that differ from the installed release's, or use one that does.

        Docstrings and annotations do not count. Heads are compared too, and are the release's in rows all the same.
        """
        ours = {module: _definitions(self._tree(self.root, module)) for module in self.modules()}
        theirs = {module: _definitions(self._tree(self._stock, module)) for module in self.modules()}
        changed = {
            Defined(module, name)
            for module, definitions in ours.items()
            for name, node in definitions.items()
            if name not in theirs[module] or ast.dump(node) != ast.dump(theirs[module][name])
        }
        uses = {
            Defined(module, name): {node.id for node in ast.walk(definition) if isinstance(node, ast.Name)}
            for module, definitions in ours.items()
            for name, definition in definitions.items()
        }
        while True:
            names = {where.name for where in changed}
            more = {where for where, used in uses.items() if where not in changed and used & names}
            if not more:
                return frozenset(changed)
            changed |= more

    def names_used(self, where: Defined) -> set[str]:
        """Return the names that a definition uses."""
        definition = _definitions(self._tree(self.root, where.module)).get(where.name)
        return {node.id for node in ast.walk(definition) if isinstance(node, ast.Name)} if definition else set()

    def absolute(self, node: ast.ImportFrom, module: str) -> str:
        """Return the import name of what a `from ... import` in a file imports from."""
        if not node.level:
            return node.module or ""
        package = module.split(".")
        if not self.is_package(module):
            package = package[:-1]
        package = package[: len(package) - node.level + 1]
        return ".".join([*package, *([node.module] if node.module else [])])

    def _names(self, module: str) -> dict[str, Defined]:
        """Return what each name of a file means: a definition of it, or what it imports it from."""
        if module in self._exports:
            return self._exports[module]
        names: dict[str, Defined] = {}
        self._exports[module] = names  # before it is filled: files may import each other
        for node in _statements(self._tree(self.root, module).body):
            if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
                names[node.name] = Defined(module, node.name)
            elif isinstance(node, ast.Assign):
                targets = (target for target in node.targets if isinstance(target, ast.Name))
                names.update({target.id: Defined(module, target.id) for target in targets})
            elif isinstance(node, ast.ImportFrom):
                source = self.absolute(node, module)
                for alias in node.names:
                    if alias.name != "*":
                        names[alias.asname or alias.name] = Defined(source, alias.name)
                    elif self.is_module(source):
                        names.update({name: Defined(source, name) for name in self.public(source)})
        return names

    def _tree(self, root: Path, module: str) -> ast.Module:
        file = self._file(root, module)
        try:
            return ast.parse(file.read_bytes()) if file else ast.Module([], [])
        except (SyntaxError, ValueError):  # whoever imports it is told
            return ast.Module([], [])

    @staticmethod
    def _file(root: Path, module: str) -> Path | None:
        path = root.joinpath(*module.split(".")[1:])
        return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield the statements of a file, and those inside its `if` and `try`, but not what runs as a script alone."""
    for node in body:
        if isinstance(node, ast.If) and ast.unparse(node.test).startswith("__name__"):
            continue
        yield node
        if isinstance(node, (ast.If, ast.Try, ast.With)):
            handlers = [statement for handler in getattr(node, "handlers", []) for statement in handler.body]
            yield from _statements([*node.body, *handlers, *getattr(node, "orelse", [])])


def _listed(tree: ast.Module) -> Sequence[str] | None:
    """Return a file's `__all__`; None if it has none that is written out."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == ["__all__"]:
            try:
                names = ast.literal_eval(node.value)
            except ValueError:  # it is computed
                return None
            return names if isinstance(names, (list, tuple)) else None
    return None


def _definitions(tree: ast.Module) -> dict[str, ast.stmt]:
    """Return the classes and functions of a file without docstrings and annotations."""
    bare = _Bare().visit(tree)
    return {node.name: node for node in bare.body if isinstance(node, (ast.ClassDef, ast.FunctionDef))}


class _Bare(ast.NodeTransformer):
    """Removes docstrings and annotations."""

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.ClassDef:
        self.generic_visit(node)
        node.body = self._without_docstring(node.body)
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        self.generic_visit(node)
        node.body, node.returns = self._without_docstring(node.body), None
        return node

    def visit_arg(self, node: ast.arg) -> ast.arg:
        node.annotation = None
        return node

    @staticmethod
    def _without_docstring(body: list[ast.stmt]) -> list[ast.stmt]:
        first = body[0]
        is_docstring = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
        return body[1:] or [ast.Pass()] if is_docstring else body
