"""The branches of a fork's `parse_model`, which read the rows of its own modules."""

from __future__ import annotations

import ast
import builtins
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any, NamedTuple

from yolo_focal.hook.syntax import is_dispatch


class Read(NamedTuple):
    """What the fork's parser has made of a row.

    Attributes:
        c2: Its output channels; a list where it returns several maps.
        module: The class, or a backbone that the parser has built itself.
        args: The constructor's arguments.
        n: How many layers are stacked.
        legacy: What the parser's variable of this name is behind the row, which decides on the head's layers.
    """

    c2: Any
    module: Any
    args: list[Any]
    n: int
    legacy: Any


class Parser:
    """Reads rows as the fork's `parse_model` does.

    The function runs as it is, for one row, up to the end of its dispatch. Of the fork's classes it sees the row's own;
    all others are stand-ins, which are imported when more is asked of them than whether the row is theirs.

    Args:
        tasks: The fork's `nn/tasks.py`.
        find: Imports what a name of that file means; raises KeyError if the fork has none.

    Attributes:
        knows_legacy: Whether it has the variable `legacy`, which decides on the layers of Ultralytics' own heads.
        of_torch: The modules of `torch.nn` that it names, such as "nn.Conv2d".

    Raises:
        ValueError: The file has no `parse_model` with one dispatch that ends in `else: c2 = ch[f]`.
    """

    def __init__(self, tasks: Path, find: Callable[[str], Any]) -> None:
        tree = ast.parse(tasks.read_bytes(), str(tasks))
        parser = _parser_of(tree, tasks)
        self.knows_legacy = "legacy" in _names_in(parser)
        attributes = (ast.unparse(node) for node in ast.walk(parser) if isinstance(node, ast.Attribute))
        self.of_torch = {name.removeprefix("torch.") for name in attributes if re.match(r"(torch\.)?nn\.", name)}
        self._code, self._find = _compile(parser, tasks), find
        self._own = {name: node for node in tree.body for name in _assigned(node)}

    def read(
        self,
        config: dict[str, Any],
        index: int,
        module: Any,
        channels: Sequence[Any],
        names: Mapping[str, Any],
        before: Mapping[str, Any],
    ) -> Read:
        """Read a row.

        Args:
            config: The model YAML, parsed.
            index: The row's index.
            module: What the row's name means.
            channels: Output channels of each layer before the row; a list where a layer returns several maps.
            names: The installed parser's globals.
            before: Its variables.
        """
        source, repeats, name, args = (config["backbone"] + config["head"])[index]
        # A fork counts a backbone's maps as its first five layers; where it returns four there is none at index 0.
        widths = [0 if isinstance(c, list) else c for c in channels]
        own = _Names(names, self._own, self._find)
        own[name] = module
        own["_rows"] = [(index, (source, repeats, name, [*args]))]
        own["_before"] = widths, before.get("c2"), before.get("legacy", True)
        # A scale is given where none was, because the parser warns of that at each call.
        scale = config.get("scale") or next(iter(config.get("scales") or {"": None}))
        parse = FunctionType(self._code, own, argdefs=(None,) * self._code.co_argcount)
        return Read(*parse({**config, "scale": scale}, channels[0], verbose=False))


class _Names(dict[str, Any]):
    """The globals of the fork's parser: the installed one's, and behind them the fork's own names.

    Args:
        stock: The globals of the installed parser.
        own: The statements of the fork's file that give a name a value, such as a tuple of classes.
        find: Imports what a name of that file means.
    """

    def __init__(self, stock: Mapping[str, Any], own: Mapping[str, ast.stmt], find: Callable[[str], Any]) -> None:
        super().__init__(stock)
        self._own, self._find = own, find

    def __missing__(self, name: str) -> Any:
        if hasattr(builtins, name):
            raise KeyError(name)  # Python looks there next
        if name in self._own:
            exec(compile(ast.Module([self._own[name]], []), "nn/tasks.py", "exec"), self)
        else:
            self[name] = _StandIn(name, self._find)
        return self[name]


class _StandIn:
    """A name of the fork that a row is compared with."""

    def __init__(self, name: str, find: Callable[[str], Any]) -> None:
        self._name, self._find = name, find

    def __getattr__(self, attribute: str) -> Any:
        return getattr(self._find(self._name), attribute)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._find(self._name)(*args, **kwargs)


def _assigned(node: ast.stmt) -> list[str]:
    targets = node.targets if isinstance(node, ast.Assign) else []
    return [target.id for target in targets if isinstance(target, ast.Name)]


def _names_in(node: ast.AST) -> set[str]:
    return {name.id for name in ast.walk(node) if isinstance(name, ast.Name)}


def _parser_of(tree: ast.Module, tasks: Path) -> ast.FunctionDef:
    """Return the function, which later definitions of the name replace."""
    parsers = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "parse_model"]
    if not parsers:
        raise ValueError(f"{tasks}: it has no function parse_model")
    return parsers[-1]


def _compile(parser: ast.FunctionDef, tasks: Path) -> CodeType:
    """Compile the parser so that it reads the rows of `_rows`, and returns what its dispatch has made of the first."""
    found = [
        (loop, position)
        for loop in parser.body
        if isinstance(loop, ast.For)
        for position, statement in enumerate(loop.body)
        if is_dispatch(statement)
    ]
    if len(found) != 1:
        raise ValueError(f"{tasks}: parse_model has no dispatch, or several, that end in `else: c2 = ch[f]`")
    loop, position = found[0]
    loop.iter = ast.Name("_rows", ast.Load())
    before = ast.parse("ch, c2, legacy = _before").body
    after = ast.parse("return c2, m, args, n, legacy").body
    loop.body = [*before, *loop.body[: position + 1], *after]
    parser.body = parser.body[: parser.body.index(loop) + 1]
    parser.decorator_list, parser.returns = [], None
    for argument in parser.args.args:
        argument.annotation = None
    parser.args.defaults = []  # those that are not given are None
    module = compile(ast.fix_missing_locations(ast.Module([parser], [])), str(tasks), "exec", dont_inherit=True)
    return next(const for const in module.co_consts if isinstance(const, CodeType))
