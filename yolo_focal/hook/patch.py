"""The patch of Ultralytics' model parser; with `wrappers`, what uses internals of Ultralytics' parser.

`ultralytics.nn.tasks.parse_model` builds the layers. Its dispatch on a row's module ends in `else: c2 = ch[f]`. The
patch inserts an `if` for registered modules before the dispatch and adds their names to those that the parser looks up.
The rest is Ultralytics' own source, compiled under its own file name with its own line numbers, so tracebacks and
breakpoints still show it. The function object stays the same and only its `__code__` changes, so references to it and
wrappers around it are patched too.

Four more functions are replaced in every module of Ultralytics that has imported them by name:

- `ultralytics.nn.tasks.yaml_model_load` also finds the packaged model configs.
- `ultralytics.nn.tasks.torch_safe_load` imports the user's files before it loads a checkpoint.
- `ultralytics.utils.checks.check_file` also finds the packaged data configs.
- `ultralytics.utils.dist.generate_ddp_file` writes multi-GPU training scripts that also import this package.

And a method: `ultralytics.nn.tasks.BaseModel.load` finds a model's layers in weights whose layers have other indices.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import importlib
import inspect
import sys
import threading
from collections.abc import Iterator, Sequence
from types import CodeType, FunctionType, ModuleType
from typing import Any, Callable, NamedTuple

from yolo_focal.errors import UnsupportedUltralyticsError
from yolo_focal.hook import finder, layer_seed, plugins, registry, rows, wrappers
from yolo_focal.hook.names import Names

TESTED = "8.1.0 to 8.4.190"

_TASKS = "ultralytics.nn.tasks"
_CHECKS = "ultralytics.utils.checks"
_DIST = "ultralytics.utils.dist"


class _Recoded(NamedTuple):
    """A function whose `__code__` is exchanged."""

    function: Any
    original: CodeType
    patched: CodeType


class _Replaced(NamedTuple):
    """A function of a module, or a method of a class, that is replaced by a wrapper."""

    owner: ModuleType | type
    name: str
    original: Callable[..., Any]
    replacement: Callable[..., Any]


_lock = threading.RLock()
_recoded: _Recoded | None = None  # the last parser that was patched; it may have been imported anew since
_replaced: list[_Replaced] = []


def activate() -> None:
    """Add the registered modules to Ultralytics' model parser, in this process.

    Has no effect if the patch is already active. The package's hook calls it as soon as Ultralytics is imported. The
    user's files are imported later: while Ultralytics is being imported they cannot import it themselves.

    Raises:
        UnsupportedUltralyticsError: The parser of the installed Ultralytics cannot be patched.
    """
    global _recoded
    # Imported before the lock is acquired, because another thread may be importing them: it holds their import locks
    # and calls this function at the end of the import, which would be a deadlock.
    tasks, checks, dist = (importlib.import_module(name) for name in (_TASKS, _CHECKS, _DIST))
    importlib.import_module("yolo_focal.hook.heads").add()
    finder.install()  # a checkpoint may be unpickled without Ultralytics' functions
    with _lock:
        if not is_active():
            recoded = _with_branch(tasks.parse_model)
            recoded.function.__code__ = recoded.patched
            _recoded = recoded
        for owner, name, wrap in (
            (tasks, "yaml_model_load", functools.partial(wrappers.with_packaged_models, tasks)),
            (tasks, "torch_safe_load", wrappers.with_modules),
            (checks, "check_file", wrappers.with_packaged_configs),
            (dist, "generate_ddp_file", wrappers.with_package_import),
            (tasks.BaseModel, "load", wrappers.with_layers_found),
        ):
            original = getattr(owner, name)
            if all(original is not function.replacement for function in _replaced):
                _replaced.append(_Replaced(owner, name, original, wrap(original)))
                _replace(*_replaced[-1])


def deactivate() -> None:
    """Restore Ultralytics' own functions, in this process; has no effect if the patch is not active.

    Models that are already built stay as they are. The registered classes remain allowed in restricted checkpoint
    loading, because torch cannot safely remove one while another thread is loading.
    """
    global _recoded
    with _lock:
        if _recoded is not None:
            _recoded.function.__code__ = _recoded.original
        for function in _replaced:
            _replace(function.owner, function.name, function.replacement, function.original)
        _replaced.clear()
        _recoded = None


def is_active() -> bool:
    """Return whether Ultralytics' model parser has the registered modules, in this process.

    The parser that Ultralytics has now is looked at: `ultralytics.nn.tasks` may have been imported anew.
    """
    tasks = sys.modules.get(_TASKS)
    if _recoded is None or tasks is None:
        return False
    functions = _wrapped(getattr(tasks, "parse_model", None), set())
    return any(function.__code__ is _recoded.patched for function in functions)


def changed_by_others() -> list[str]:
    """Return a line for each change to the parser that another package or the user has made; all keep working."""
    tasks = importlib.import_module(_TASKS)
    lines = []
    for name in filter(registry.is_built_in, registry.registered()):
        namesake = vars(tasks).get(name)
        if namesake is not None:
            lines.append(f"{_TASKS} has {name} of its own ({namesake.__module__}), which rows of that name get")
    parse_model = tasks.parse_model
    if _recoded and parse_model is not _recoded.function:
        code = getattr(parse_model, "__code__", None)
        location = f"{code.co_filename}, line {code.co_firstlineno}" if code else repr(parse_model)
        lines.append(f"{_TASKS}.parse_model is wrapped ({location})")
    return lines


def _replace(owner: ModuleType | type, name: str, old: object, new: object) -> None:
    """Replace a method, or a function in every module of Ultralytics that has it as a global, which many import."""
    if isinstance(owner, type):
        if vars(owner).get(name) is old:
            setattr(owner, name, new)
        return
    for module_name, module in list(sys.modules.items()):
        if module_name.partition(".")[0] == "ultralytics" and getattr(module, "__dict__", {}).get(name) is old:
            setattr(module, name, new)


def _with_branch(parse_model: Any) -> _Recoded:
    """Recompile `parse_model`, or the function that it wraps, with a branch for registered modules."""
    reasons = []
    for function in _wrapped(parse_model, set()):
        try:
            return _Recoded(function, function.__code__, _compile(function))
        except (OSError, TypeError, SyntaxError, ValueError) as error:
            reasons.append(str(error))
    raise _unsupported(reasons[0] if reasons else f"parse_model is {parse_model!r}")


def _wrapped(function: Any, seen: set[int]) -> Iterator[FunctionType]:
    """Yield a function, then the functions in its attributes, its closure and its globals: it may be a wrapper."""
    if id(function) in seen or len(seen) > 100:
        return
    seen.add(id(function))
    inner = [getattr(function, name, None) for name in ("__wrapped__", "func", "__func__")]
    if isinstance(function, FunctionType):
        yield function
        with contextlib.suppress(ValueError):  # a closure variable that is not yet assigned
            variables = inspect.getclosurevars(function)
            inner += [*variables.nonlocals.values(), *variables.globals.values()]
    for candidate in inner:
        if callable(candidate) and not isinstance(candidate, type):
            yield from _wrapped(candidate, seen)


def _compile(function: FunctionType) -> CodeType:
    """Recompile a parser's source with the branch for registered modules.

    Raises:
        ValueError: The function is not a parser with one dispatch that ends in `else: c2 = ch[f]`.
    """
    if function.__closure__:
        raise ValueError(f"{function.__qualname__} of {function.__module__} has a closure")
    # The source of the code object, because that of the function would be that of a function that it wraps.
    lines, first_line = inspect.getsourcelines(function.__code__)
    tree = ast.parse("".join(lines)).body[0]
    dispatches = [
        (body, position)
        for node in ast.walk(tree)
        for body in [getattr(node, "body", None)]
        if isinstance(body, list)
        for position, statement in enumerate(body)
        if _is_dispatch(statement)
    ]
    if not isinstance(tree, ast.FunctionDef) or len(dispatches) != 1:
        raise ValueError(f"parse_model ends {len(dispatches)} branches with `else: c2 = ch[f]`, where one is expected")
    body, position = dispatches[0]
    branch = ast.parse(
        "if _yolo_focal.is_registered(m, d, i):\n    c2, m, args, n = _yolo_focal.read_row(d, i, args, ch, n)"
    ).body[0]
    assert isinstance(branch, ast.If)
    _set_location(branch, body[position])  # a traceback of an error in the branch shows the parser's first `if`
    branch.orelse = [body[position]]
    body[position] = branch

    # The parser looks up a row's module as `globals()[name]`. The patch shadows `globals` with `_names`, as a local
    # variable of the function, so that a call in another thread is not affected when the patch is deactivated.
    start = 1 if ast.get_docstring(tree) is not None else 0
    preamble = ast.parse(
        "from yolo_focal.hook.patch import _branch as _yolo_focal, _names as globals\n_yolo_focal.check_rows(d)"
    ).body
    for statement in preamble:
        _set_location(statement, tree.body[start])
    tree.body[start:start] = preamble
    tree.decorator_list = []
    ast.increment_lineno(tree, first_line - 1)
    module = compile(
        ast.Module([tree], []), function.__code__.co_filename, "exec", _future_flags(function), dont_inherit=True
    )
    return next(const for const in module.co_consts if isinstance(const, CodeType))


def _set_location(tree: ast.stmt, source: ast.stmt) -> None:
    """Give every node of a statement the line and column of another statement."""
    for node in ast.walk(tree):
        ast.copy_location(node, source)


def _names() -> Names:
    """Return Ultralytics' names and the registered ones; replaces `globals` in the parser, whose variables it reads."""
    parser = sys._getframe(1)
    return Names(parser.f_globals, f"{_file(parser.f_locals['d'])}, row {parser.f_locals.get('i')}")


class _branch:  # noqa: N801  it stands for a module in the parser
    """The functions that the inserted code calls."""

    @staticmethod
    def check_rows(config: dict[str, Any]) -> None:
        plugins.load(beside=config.get("yaml_file") or "")
        for index, row in enumerate(config["backbone"] + config["head"]):
            if isinstance(row, list) and len(row) > 2 and isinstance(row[2], str) and registry.find(row[2]):
                rows.check(_file(config), index, row)

    @staticmethod
    def is_registered(module: Any, config: dict[str, Any], index: int) -> bool:
        layer_seed.apply(index)  # the parser asks this of each row, and then builds its layer
        entry = registry.find(_row(config, index)[2])
        return entry is not None and entry.cls is module  # a fork may have another class of that name

    @staticmethod
    def read_row(
        config: dict[str, Any], index: int, args: Sequence[Any], channels: Sequence[int], repeats: int
    ) -> tuple[int, rows.Row, list[Any], int]:
        row = _row(config, index)
        entry = registry.find(row[2])
        assert entry is not None
        file, scales = _file(config), config.get("scales") or {}
        scale = config.get("scale") or next(iter(scales), "")
        args = rows.of_scale(args, scale, [*scales], f"{file}, row {index} ({row[2]})")
        return rows.read(entry, file, index, row, args, channels, _scaling(config), repeats)


def _file(config: dict[str, Any]) -> str:
    return config.get("yaml_file") or "the model's configuration"


def _row(config: dict[str, Any], index: int) -> list[Any]:
    row: list[Any] = (config["backbone"] + config["head"])[index]
    return row


def _scaling(config: dict[str, Any]) -> registry.Scaling:
    """Return a config's scaling as `parse_model` computes it; without a `scale` the first of `scales` applies."""
    scales = config.get("scales")
    if not scales:
        return registry.Scaling(config.get("width_multiple", 1.0), float("inf"), config.get("nc"))
    _, width, max_channels = scales[config.get("scale") or next(iter(scales))]
    return registry.Scaling(width, max_channels, config.get("nc"))


def _is_dispatch(node: ast.stmt) -> bool:
    """Return whether a statement is an `if` whose final `else` is `c2 = ch[f]`."""
    while isinstance(node, ast.If) and len(node.orelse) == 1 and isinstance(node.orelse[0], ast.If):
        node = node.orelse[0]
    return isinstance(node, ast.If) and _is_default(node.orelse)


def _is_default(body: list[ast.stmt]) -> bool:
    return len(body) == 1 and ast.unparse(body[0]) == "c2 = ch[f]"


def _future_flags(function: FunctionType) -> int:
    import __future__

    flags = (getattr(__future__, name).compiler_flag for name in __future__.all_feature_names)
    return functools.reduce(int.__or__, flags, 0) & function.__code__.co_flags


def _unsupported(reason: str) -> UnsupportedUltralyticsError:
    version = importlib.import_module("ultralytics").__version__
    return UnsupportedUltralyticsError(
        f"Ultralytics {version} cannot be extended: {reason}. Tested are {TESTED}: install one of these, such as "
        f"`pip install ultralytics=={TESTED.split()[-1]}`"
    )
