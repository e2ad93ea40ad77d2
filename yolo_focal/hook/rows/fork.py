"""Rows that name a module of a fork, which the fork's own parser reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from yolo_focal.errors import ConfigError
from yolo_focal.hook import configs, forks
from yolo_focal.hook.forks import backbones
from yolo_focal.hook.forks.parser import Read
from yolo_focal.hook.modules import registry
from yolo_focal.hook.rows.constructors import OfFork
from yolo_focal.hook.rows.reading import Place
from yolo_focal.hook.tracebacks import describe_error

_BUILT = "yolo_focal_backbone"  # key of a config: the first row, if it was read before the others


def is_of_fork(name: str, config: Mapping[str, Any], stock: Mapping[str, Any]) -> bool:
    """Return whether a row's name means a module of the fork.

    A module that the user has registered comes before one of the fork's, and that before one of this package's.
    """
    fork = forks.current()
    if fork is None or registry.is_registered(name) or configs.is_packaged(config.get("yaml_file") or ""):
        return False
    return fork.has(name, stock, forks.FROM_FORK in config)


def module_of(name: str, config: Mapping[str, Any], stock: Mapping[str, Any], where: str) -> Any:
    """Return the fork's module that a row's name means, or None; see `is_of_fork`.

    Args:
        name: The name in the row.
        config: The model YAML, parsed.
        stock: The globals of the installed release's parser.
        where: What begins a message.

    Raises:
        ConfigError: The fork has a module of that name, which cannot be imported.
    """
    if name == backbones.NAME:
        return backbones.BackboneMap
    fork = forks.current()
    return fork.find(name, where) if fork is not None and is_of_fork(name, config, stock) else None


def name_by_value(config: dict[str, Any], stock: Mapping[str, Any]) -> None:
    """Put the values of the YAML file's own keys in the place of their names, in rows of a file that lies in a fork.

    Forks have `node_mode: C2f` and `head_channel: 256` beside `nc`, and rows such as `[-1, 3, node_mode,
    [head_channel]]`. The arguments of a row that names a module of the fork are left to the fork's parser.
    """
    fork = forks.current()
    if fork is None or forks.FROM_FORK not in config:
        return
    for row in (*config["backbone"], *config["head"]):
        if not (isinstance(row, list) and len(row) == 4 and isinstance(row[2], str) and isinstance(row[3], list)):
            continue  # whoever reads the row says what is wrong with it
        _, _, name, args = row
        value = config.get(name)
        if isinstance(value, str):
            row[2] = value
        if isinstance(value, str) or not fork.has(name, stock, in_fork=True):
            row[3] = [config.get(arg, arg) if isinstance(arg, str) else arg for arg in args]


def expand_backbone(config: dict[str, Any], first: Place, stock: Mapping[str, Any], parser: Mapping[str, Any]) -> None:
    """Add the rows of its maps behind a first row whose module returns several; it is read here, and built.

    Args:
        config: The model YAML, parsed.
        first: Its first row.
        stock: The globals of the installed release's parser.
        parser: The parser's variables.

    Raises:
        ConfigError: The row cannot be read, or a later row reads a map that has no index.
    """
    module = module_of(first.row[2], config, stock, first.where)
    if module is None:
        return
    read = _read(config, 0, module, [parser["ch"]], first, stock, parser)
    if not isinstance(read.module, nn.Module):
        return
    for index, row in enumerate([*config["backbone"], *config["head"]][1:], start=1):
        if 0 in (row[0] if isinstance(row[0], list) else [row[0]]):
            raise ConfigError(
                f"{first.where}: row {index} reads layer 0, which is the whole backbone here: its last four maps have "
                "the indices 1 to 4"
            )
    config["backbone"] = [config["backbone"][0], *backbones.rows(), *config["backbone"][1:]]
    config[_BUILT] = read


class ForkRow:
    """A row that the fork's parser has read.

    Args:
        place: The row.
        read: What has become of it.

    Attributes:
        result: The row's output channels, the constructor's arguments, and how many layers are stacked.
        legacy: The parser's variable of this name behind the row.
    """

    is_read_by_rule = True

    def __init__(self, place: Place, read: Read) -> None:
        self.result = read.c2, read.args, read.n
        self.legacy = read.legacy
        self._constructor = OfFork(read.module, place.where, place.is_output)

    def constructor(self, module: Any, args: list[Any], c2: Any, n: Any) -> tuple[Any, Any, list[Any]]:  # noqa: ARG002
        """Return the module as which the parser goes on with the row, what builds the layer, and its arguments."""
        return self._constructor, self._constructor, args


def read(
    config: dict[str, Any],
    index: int,
    module: Any,
    channels: Sequence[Any],
    place: Place,
    stock: Mapping[str, Any],
    parser: Mapping[str, Any],
) -> ForkRow:
    """Return how a row of a fork's module is read; see `inserted.read`."""
    if module is backbones.BackboneMap:
        layer = backbones.BackboneMap(*place.row[3])
        return ForkRow(place, Read(channels[0][layer.of(channels[0])], layer, [], 1, parser.get("legacy")))
    built = config.pop(_BUILT, None)
    return ForkRow(place, built or _read(config, index, module, channels, place, stock, parser))


def _read(
    config: dict[str, Any],
    index: int,
    module: Any,
    channels: Sequence[Any],
    place: Place,
    stock: Mapping[str, Any],
    parser: Mapping[str, Any],
) -> Read:
    fork = forks.current()
    assert fork is not None
    try:
        result = fork.read(config, index, module, channels, stock, parser)
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(
            f"{place.where}: arguments {place.row[3]}: the fork's parser stops with {describe_error(error)}"
        ) from error
    if not isinstance(result.c2, (int, list)):  # CBLinear and backbones have a list
        raise ConfigError(f"{place.where}: the fork's parser gives it {result.c2!r} as its output channels")
    return result
