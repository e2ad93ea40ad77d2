"""A fork: a copy of Ultralytics with modules of its own, of which these alone are used."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from yolo_focal.errors import ConfigError
from yolo_focal.hook.forks import backbones
from yolo_focal.hook.forks.index import HEADS, Defined, Index
from yolo_focal.hook.forks.loading import PACKAGE, Files
from yolo_focal.hook.forks.parser import Parser, Read

FROM_FORK = "from_fork"  # key of a model YAML, parsed, that lies in the fork
_lock = threading.Lock()
_current: Fork | None = None


class Fork:
    """The modules of a fork, by the names that rows have for them.

    Args:
        folder: The fork, which holds `ultralytics/nn/tasks.py`, or its folder `ultralytics`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.index = Index(package_of(folder), _installed())
        self.files = Files(self.index)

    @functools.cached_property
    def rows(self) -> Mapping[str, Defined]:
        """Where each name that a row may use is defined, for those of the fork's module files."""
        return self.index.rows()

    @functools.cached_property
    def parser(self) -> Parser:
        """The fork's `parse_model`."""
        return Parser(self.index.root / "nn" / "tasks.py", lambda name: self.files.load(self.rows[name]))

    @functools.cached_property
    def legacy(self) -> bool | None:
        """The installed parser's `legacy`, which decides on the layers of its head; None if the fork's rows set it.

        A fork of a release that does not have it has the one head or the other.
        """
        return None if self.parser.knows_legacy else "DWConv" not in self.index.names_used(Defined(HEADS, "Detect"))

    def has(self, name: str, stock: Mapping[str, Any], in_fork: bool) -> bool:
        """Return whether a row is read by the fork's parser, and its name means what it means in the fork.

        Args:
            name: The name.
            stock: The globals of the installed release's parser.
            in_fork: Whether the YAML file lies in the fork. There all rows are, whose branches may differ too; but a
                head is the release's, because its loss and its exporter are, and so is a module of torch's that the
                fork's parser does not name.
        """
        if name.startswith("nn."):
            return in_fork and name in self.parser.of_torch
        if "." in name or (name in stock and not in_fork):  # torch's or the release's: no file of the fork is read
            return False
        where = self.rows.get(name)
        return where is not None and (name not in stock or where.module != HEADS)

    def find(self, name: str, where: str) -> Any:
        """Import what a row's name means.

        Args:
            name: The name.
            where: What begins a message.

        Raises:
            ConfigError: Its file cannot be imported.
        """
        if name.startswith("nn."):
            return getattr(nn, name.removeprefix("nn."))
        try:
            return self.files.load(self.rows[name])
        except Exception as error:
            file = self.index.file(self.rows[name].module)
            raise ConfigError(f"{where}: {file} cannot be imported: {type(error).__name__}: {error}") from error

    def read(
        self, config: dict[str, Any], index: int, module: Any, channels: Sequence[Any], names: Any, before: Any
    ) -> Read:
        """Read a row as the fork's parser does; see `Parser.read`."""
        return self.parser.read(config, index, module, channels, names, before)

    def contains(self, file: str | Path) -> bool:
        """Return whether a file lies in the fork."""
        return Path(file).resolve().is_relative_to(self.folder)

    def imported(self, modules: Iterable[str]) -> list[str]:
        """Import those of some modules that are files of the fork which the release has too, and return their names."""
        own = [module for module in modules if module.startswith(f"{PACKAGE}.")]
        for module in own:
            importlib.import_module(module)
        return own

    def files_of(self, cls: type) -> list[Path]:
        """Return the files that decide on a layer of a class of the fork: its own, and the parser's; [] for others."""
        module = (
            "ultralytics" + cls.__module__.removeprefix(PACKAGE)
            if cls.__module__.startswith(PACKAGE)
            else (cls.__module__)
        )
        where = Defined(module, cls.__name__)
        is_own = module != cls.__module__ or (self.index.is_module(module) and not self.files.is_the_releases(where))
        file = self.index.file(module) if is_own else None
        return [] if file is None else [file, self.index.root / "nn" / "tasks.py"]

    def restore(self, network: Any) -> None:
        """Make a network that the fork has trained one that the installed release runs, as it was in the fork."""
        layers = [*network.modules()] if isinstance(network, nn.Module) else []
        if any(hasattr(layer, "yolo_focal_origin") for layer in layers):  # trained here
            return
        own = {where.module for where in self.rows.values() if not self.index.is_stock(where.module)}
        added = {where for where in self.index.changed if not self.files.is_the_releases(where)}
        if not any(_defined(layer) in added or type(layer).__module__ in own for layer in layers):
            return
        for layer in layers:
            where = _defined(layer)
            if where in self.index.changed and where.module != HEADS:
                layer.__class__ = self.files.load(where)
        backbones.restore(network)
        network.yaml[FROM_FORK] = True


def package_of(folder: Path) -> Path:
    """Return the folder `ultralytics` of a fork that is named by it or by the folder around it."""
    return folder / "ultralytics" if (folder / "ultralytics" / "nn" / "tasks.py").is_file() else folder


def is_fork(folder: Path) -> bool:
    """Return whether a folder is a fork, or the folder `ultralytics` of one."""
    return (package_of(folder) / "nn" / "tasks.py").is_file()


def use(folder: Path) -> None:
    """Let rows and checkpoints name the modules of a fork, in this process.

    Raises:
        ConfigError: There is another, or it is the installed package.
    """
    global _current
    folder = folder.resolve()
    if package_of(folder) == _installed():
        raise ConfigError(
            f"{folder} is the installed Ultralytics: its modules are there already. To use them on a release, install "
            "that (pip uninstall ultralytics, pip install ultralytics), and name this folder"
        )
    with _lock:
        if _current is not None and _current.folder != folder:
            raise ConfigError(f"{folder}: {_current.folder} is named already: name one fork")
        if _current is None:
            _current = Fork(folder)
        _current.files.install()


def install() -> None:
    """Find the files of the fork that is in use; has no effect if they are found."""
    if _current is not None:
        _current.files.install()


def uninstall() -> None:
    """Take that back; a fork that is imported stays."""
    if _current is not None:
        _current.files.uninstall()


def current() -> Fork | None:
    """Return the fork that is in use; None after `uninstall`."""
    return _current if _current is not None and _current.files.are_found() else None


def _installed() -> Path:
    spec = importlib.util.find_spec("ultralytics")
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).resolve().parent


def _defined(layer: nn.Module) -> Defined:
    return Defined(type(layer).__module__, type(layer).__name__)
