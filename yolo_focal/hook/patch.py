"""The patch of Ultralytics' model parser; with `wrappers`, what uses internals of Ultralytics' parser.

`ultralytics.nn.tasks.parse_model` builds the layers. Its dispatch on a row's module ends in `else: c2 = ch[f]`. The
patch puts code around the dispatch that reads the rows of registered modules, by their channel rule or by the dispatch
itself, and adds their names to those that the parser looks up. The rest is Ultralytics' own source, compiled under its
own file name with its own line numbers, so tracebacks and breakpoints still show it. The function object stays the same
and only its `__code__` changes, so references to it and wrappers around it are patched too.

Four more functions are replaced in every module of Ultralytics that has imported them by name:

- `ultralytics.nn.tasks.yaml_model_load` also finds the packaged model configs.
- `ultralytics.nn.tasks.torch_safe_load` imports the user's files before it loads a checkpoint, or says what is missing.
- `ultralytics.utils.checks.check_file` also finds the packaged data configs.
- `ultralytics.utils.dist.generate_ddp_file` writes multi-GPU training scripts that also import this package.

And a method: `ultralytics.nn.tasks.BaseModel.load` finds a model's layers in weights whose layers have other indices.
Ultralytics' trainers get a callback, which warns where `freeze=` freezes layers that start fresh.
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
from yolo_focal.hook import configs, finder, layer_seed, plugins, registry, rows, stock, wrappers
from yolo_focal.hook.channels import Scaling
from yolo_focal.hook.names import Names
from yolo_focal.hook.row_arguments import of_scale

TESTED = "8.1.0 to 8.4.190"

_TASKS = "ultralytics.nn.tasks"
_CHECKS = "ultralytics.utils.checks"
_DIST = "ultralytics.utils.dist"
_NO_SOURCE = "could not get source code"  # inspect's words
_CLASSIFIERS = {"classify", "classifier", "cls", "fc"}  # Ultralytics' names of a classifier; any logits have its loss
_FREEZING = "yolo_focal.hook.freezing"


class _Recoded(NamedTuple):
    """A parser whose `__code__` is exchanged.

    Attributes:
        function: The parser.
        original: Its own code.
        patched: The code with the patch.
        leaves_nc: Whether it scales no row that has as many channels as there are classes; newer ones no classifier's.
    """

    function: Any
    original: CodeType
    patched: CodeType
    leaves_nc: bool


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
    importlib.import_module(_FREEZING).add()
    finder.install()  # a checkpoint may be unpickled without Ultralytics' functions
    with _lock:
        _undo_early()
        if not is_active():
            recoded = _with_branch(tasks.parse_model)
            recoded.function.__code__ = recoded.patched
            stock.use(recoded.function.__globals__, recoded.original.co_names)
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
    """Restore Ultralytics' own functions and Python's import system, in this process.

    Models that are already built stay as they are. The registered classes remain allowed in restricted checkpoint
    loading, because torch cannot safely remove one while another thread is loading.
    """
    global _recoded
    with _lock:
        _undo_early()
        finder.uninstall()
        layer_seed.seed_layers(None)
        if _recoded is not None:
            _recoded.function.__code__ = _recoded.original
            sys.modules[_FREEZING].remove()  # type: ignore[attr-defined]
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


def _undo_early() -> None:
    """Restore the `check_file` that is replaced when Ultralytics begins to be imported."""
    checks = sys.modules.get(_CHECKS)
    early = getattr(checks, "check_file", None)
    if checks is not None and isinstance(early, configs.FoundEarly):
        _replace(checks, "check_file", early, early.check_file)


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
            leaves_nc = "c2 != nc" in inspect.getsource(function.__code__)
            return _Recoded(function, function.__code__, _compile(function), leaves_nc)
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
    dispatch, built = body[position], body[position + 1 :]
    constructor = _Constructor()
    body[position + 1 :] = [constructor.visit(statement) for statement in built]
    if not constructor.calls:
        raise ValueError("parse_model does not build a layer with m(*args) after its dispatch")
    reading = ast.parse(_READING).body
    for statement in reading:
        _set_location(statement, dispatch)  # a traceback of an error in it shows the parser's first `if`
    around = next(node for node in ast.walk(reading[1]) if isinstance(node, ast.With))
    around.body = [dispatch]
    body[position : position + 1] = reading
    tree = _ThreeNumbers().visit(tree)

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


# What stands in the place of the parser's dispatch, which takes the place of `...`. `m` is what the parser compares
# with its classes afterwards; the layer is built by another name.
_READING = """
_yolo_focal_row = _yolo_focal.read(d, i, m, args, ch, n)
if _yolo_focal_row.is_read_by_rule:
    c2, args, n = _yolo_focal_row.result
else:
    args = _yolo_focal_row.args
    with _yolo_focal_row:
        ...
m, _yolo_focal_constructor, args = _yolo_focal_row.constructor(m, args, c2, n)
"""


class _Constructor(ast.NodeTransformer):
    """Lets `m(...)` and `str(m)`, which build a layer and name its type, mean the constructor of its row."""

    calls = 0

    def visit_Call(self, node: ast.Call) -> ast.Call:
        self.generic_visit(node)
        if isinstance(node.func, ast.Name) and node.func.id == "m":
            self.calls += 1
            node.func.id = "_yolo_focal_constructor"
        elif ast.unparse(node) == "str(m)":
            node.args = [ast.copy_location(ast.Name("_yolo_focal_constructor", ast.Load()), node.args[0])]
        return node


class _ThreeNumbers(ast.NodeTransformer):
    """Lets the parser read the first three numbers of a scale that has more, as those of some forks do."""

    def visit_Assign(self, node: ast.Assign) -> ast.Assign:
        if ast.unparse(node.value) == "scales[scale]" and ast.unparse(node.targets[0]).count(",") == 2:
            value = ast.parse("scales[scale][:3]", mode="eval").body
            _set_location(value, node)
            node.value = value
        return node


def _set_location(tree: ast.AST, source: ast.stmt) -> None:
    """Give every node of a tree the line and column of a statement."""
    for node in ast.walk(tree):
        ast.copy_location(node, source)


def _names() -> Names:
    """Return Ultralytics' names and the registered ones; replaces `globals` in the parser, whose variables it reads."""
    parser = sys._getframe(1)
    return Names(parser.f_globals, _file(parser.f_locals["d"]), parser.f_locals.get("i"))


class _branch:  # noqa: N801  it stands for a module in the parser
    """The functions that the inserted code calls."""

    @staticmethod
    def check_rows(config: dict[str, Any]) -> None:
        plugins.load(beside=config.get("yaml_file") or "")
        for index, row in enumerate(config["backbone"] + config["head"]):
            if isinstance(row, list) and len(row) > 2 and isinstance(row[2], str) and registry.find(row[2]):
                rows.check(_file(config), index, row)

    @staticmethod
    def read(
        config: dict[str, Any], index: int, module: Any, args: list[Any], channels: Sequence[int], repeats: int
    ) -> rows.StockRow | rows.RuleRow | rows.LikeRow:
        layer_seed.apply(index)  # the parser reads each row, and then builds its layer
        row: list[Any] = (config["backbone"] + config["head"])[index]
        name, file = row[2], _file(config)
        entry = registry.find(name, configs.is_packaged(file))
        if entry is None or module is not stock.shown_to_parser(name, entry):
            return rows.StockRow(args)  # also where a fork has another class of that name
        scales = [*(config.get("scales") or {})]
        scaling = _scaling(config, repeats)
        is_last = index == len(config["backbone"]) + len(config["head"]) - 1 and bool(config["head"])
        is_output = is_last and name.lower() not in _CLASSIFIERS
        place = rows.Place(f"{file}, row {index} ({name})", row, is_output)
        args = of_scale(args, scaling.scale, scales, place.where)
        read_as = stock.read_as(name, entry)
        if read_as is None:
            return rows.RuleRow(entry, place, args, channels, scaling)
        return rows.LikeRow(entry, place, args, channels, read_as)


def _file(config: dict[str, Any]) -> str:
    return config.get("yaml_file") or "the model's configuration"


def _scaling(config: dict[str, Any], repeats: int) -> Scaling:
    """Return a config's scaling as `parse_model` computes it; without a `scale` the first of `scales` applies."""
    scales, nc = config.get("scales"), config.get("nc")
    unscaled = nc if _recoded is not None and _recoded.leaves_nc else None
    if not scales:
        depth, width = (config.get(f"{name}_multiple", 1.0) for name in ("depth", "width"))
        return Scaling(width, float("inf"), nc, depth=depth, repeats=repeats, unscaled=unscaled)
    scale = config.get("scale") or next(iter(scales))
    depth, width, max_channels, *rest = scales[scale]
    return Scaling(width, max_channels, nc, scale, depth, repeats, tuple(rest), unscaled)


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
    if reason == _NO_SOURCE:
        return UnsupportedUltralyticsError(
            f"Ultralytics {version} cannot be extended: the source of {_TASKS} is not there, as in a frozen "
            "application. Have it include the file ultralytics/nn/tasks.py: with PyInstaller, "
            'module_collection_mode={"ultralytics": "pyz+py"}'
        )
    return UnsupportedUltralyticsError(
        f"Ultralytics {version} cannot be extended: {reason}. Tested are {TESTED}: install one of these, such as "
        f"`pip install ultralytics=={TESTED.split()[-1]}`"
    )
