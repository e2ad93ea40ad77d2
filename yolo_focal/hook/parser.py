"""The patch of Ultralytics' model parser: the one file that knows Ultralytics' insides.

`ultralytics.nn.tasks.parse_model` builds the layers. Its dispatch on the row's module ends in `else: c2 = ch[f]`; an
`if` for registered modules is put before its first one, and the names of rows are looked up among theirs too. The rest
is Ultralytics' own source, compiled under its own file name with its own line numbers, so tracebacks and breakpoints
still show it. The function stays the same object and gets other code: whoever holds it or has wrapped it has the patch.

Three more functions are replaced wherever Ultralytics' modules hold them by name:

- `ultralytics.nn.tasks.yaml_model_load` also finds the packaged model configs.
- `ultralytics.utils.checks.check_file` also finds the packaged data configs.
- `ultralytics.utils.dist.generate_ddp_file` writes scripts for several GPUs that import this package.
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
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any, Callable, NamedTuple

import yaml

from yolo_focal import _startup, configs, plugins, registry, rows
from yolo_focal.errors import UnsupportedUltralyticsError

TESTED = "8.1.0 to 8.4.190"

_TASKS = "ultralytics.nn.tasks"
_CHECKS = "ultralytics.utils.checks"
_DIST = "ultralytics.utils.dist"


class _Recoded(NamedTuple):
    function: Any
    original: CodeType
    patched: CodeType


class _Replaced(NamedTuple):
    name: str
    original: Callable[..., Any]
    replacement: Callable[..., Any]


_lock = threading.RLock()
_recoded: _Recoded | None = None  # None where the patch is not active
_replaced: list[_Replaced] = []


def activate() -> None:
    """Make Ultralytics' model parser know the registered modules, in this process.

    Imports the files that `YOLO_FOCAL_MODULES` and the entry points of the group `yolo_focal.modules` name. Calling it
    again does no more. Where the package's hook is armed, it is called as soon as Ultralytics is imported.

    Raises:
        UnsupportedUltralyticsError: The installed Ultralytics has a parser of another shape.
    """
    global _recoded
    # Imported before the lock is taken: another thread that is importing it holds its import lock and wants ours.
    tasks, checks, dist = (importlib.import_module(name) for name in (_TASKS, _CHECKS, _DIST))
    if not _recoded:
        plugins.load()
    with _lock:
        if _recoded:
            return
        recoded = _with_branch(tasks.parse_model)
        _replaced.extend(
            _Replaced(name, original, wrap(original))
            for name, original, wrap in (
                ("yaml_model_load", tasks.yaml_model_load, functools.partial(_finding_models, tasks)),
                ("check_file", checks.check_file, _finding_configs),
                ("generate_ddp_file", dist.generate_ddp_file, _importing_us),
            )
        )
        for one in _replaced:
            _swap(one.name, one.original, one.replacement)
        recoded.function.__code__ = recoded.patched
        _recoded = recoded


def deactivate() -> None:
    """Put Ultralytics' own functions back, in this process; does nothing where the patch is not active.

    Models that are already built stay as they are. What restricted checkpoint loading accepts is left as it is:
    torch has no safe way to take a class back while another thread is loading.
    """
    global _recoded
    with _lock:
        if _recoded is None:
            return
        _recoded.function.__code__ = _recoded.original
        for one in _replaced:
            _swap(one.name, one.replacement, one.original)
        _replaced.clear()
        _recoded = None


def is_active() -> bool:
    """Return whether Ultralytics' model parser knows the registered modules, in this process."""
    return _recoded is not None


def changed_by_others() -> list[str]:
    """Say what somebody else has changed about the parser, a line each; all of it keeps working."""
    tasks = importlib.import_module(_TASKS)
    lines = []
    own = vars(tasks).get("FocalModulation")
    if own is not None:
        lines.append(f"{_TASKS} has a FocalModulation of its own ({own.__module__}), which rows of that name get")
    parse_model = tasks.parse_model
    if _recoded and parse_model is not _recoded.function:
        by = getattr(parse_model, "__code__", None)
        place = f"{by.co_filename}, line {by.co_firstlineno}" if by else repr(parse_model)
        lines.append(f"{_TASKS}.parse_model is wrapped ({place})")
    return lines


def _swap(name: str, old: object, new: object) -> None:
    """Replace a function in every module of Ultralytics that holds it: many import it by name from one another."""
    for module_name, module in list(sys.modules.items()):
        if module_name.partition(".")[0] == "ultralytics" and getattr(module, "__dict__", {}).get(name) is old:
            setattr(module, name, new)


def _with_branch(parse_model: Any) -> _Recoded:
    """Compile `parse_model` again with a branch for registered modules before its dispatch."""
    reasons = []
    for function in _wrapped(parse_model, set()):
        try:
            return _Recoded(function, function.__code__, _compile(function))
        except (OSError, TypeError, SyntaxError, ValueError) as error:
            reasons.append(str(error))
    raise _unsupported(reasons[0] if reasons else f"parse_model is {parse_model!r}")


def _wrapped(function: Any, seen: set[int]) -> Iterator[FunctionType]:
    """Yield a function, then those that it calls by way of its closure or its module's globals: it may be a wrapper."""
    if id(function) in seen or len(seen) > 100:
        return
    seen.add(id(function))
    inner = [getattr(function, name, None) for name in ("__wrapped__", "func", "__func__")]
    if isinstance(function, FunctionType):
        yield function
        with contextlib.suppress(ValueError):  # a variable of the closure without a value
            found = inspect.getclosurevars(function)
            inner += [*found.nonlocals.values(), *found.globals.values()]
    for one in inner:
        if callable(one) and not isinstance(one, type):
            yield from _wrapped(one, seen)


def _compile(function: FunctionType) -> CodeType:
    """Compile a function's source anew with the branch; raise ValueError where it is no parser of the known shape."""
    if function.__closure__:
        raise ValueError(f"{function.__qualname__} of {function.__module__} has a closure")
    lines, first = inspect.getsourcelines(function.__code__)  # of this very function, not of one it wraps
    tree = ast.parse("".join(lines)).body[0]
    dispatches = [
        (body, place)
        for node in ast.walk(tree)
        for body in [getattr(node, "body", None)]
        if isinstance(body, list)
        for place, statement in enumerate(body)
        if _is_dispatch(statement)
    ]
    if not isinstance(tree, ast.FunctionDef) or len(dispatches) != 1:
        raise ValueError(f"parse_model ends {len(dispatches)} branches with `else: c2 = ch[f]`, where one is expected")
    body, place = dispatches[0]
    branch = ast.parse(
        "if _yolo_focal.is_registered(m, d, i):\n    c2, m, args, n = _yolo_focal.read_row(d, i, args, ch, n)"
    ).body[0]
    assert isinstance(branch, ast.If)
    _locate(branch, body[place])  # so that an error in the branch points at the parser's first `if`
    branch.orelse = [body[place]]
    body[place] = branch

    # The parser looks a row's name up as `globals()[name]`, and that `globals` is ours. It is bound in the function: a
    # build that is under way in another thread goes on undisturbed when the patch is taken back.
    begin = 1 if ast.get_docstring(tree) is not None else 0
    ours = ast.parse(
        "from yolo_focal.parser import _branch as _yolo_focal, _names as globals\n_yolo_focal.check_rows(d)"
    ).body
    for statement in ours:
        _locate(statement, tree.body[begin])
    tree.body[begin:begin] = ours
    tree.decorator_list = []
    ast.increment_lineno(tree, first - 1)
    module = compile(
        ast.Module([tree], []), function.__code__.co_filename, "exec", _future_flags(function), dont_inherit=True
    )
    return next(const for const in module.co_consts if isinstance(const, CodeType))


def _locate(tree: ast.stmt, like: ast.stmt) -> None:
    for node in ast.walk(tree):
        ast.copy_location(node, like)


def _names() -> registry.Names:
    """Stand for `globals` in the parser: Ultralytics' names and the registered ones."""
    return registry.Names(sys._getframe(1).f_globals)


class _branch:  # noqa: N801  the parser calls it as a module
    """What is put into the parser."""

    @staticmethod
    def check_rows(config: dict[str, Any]) -> None:
        for index, row in enumerate(config["backbone"] + config["head"]):
            if isinstance(row, list) and len(row) > 2 and isinstance(row[2], str) and registry.find(row[2]):
                rows.check(_file(config), index, row)

    @staticmethod
    def is_registered(module: Any, config: dict[str, Any], index: int) -> bool:
        entry = registry.find(_row(config, index)[2])
        return entry is not None and entry.cls is module  # and not a fork's class of that name

    @staticmethod
    def read_row(
        config: dict[str, Any], index: int, args: Sequence[Any], channels: Sequence[int], repeats: int
    ) -> tuple[int, rows.Row, list[Any], int]:
        row = _row(config, index)
        entry = registry.find(row[2])
        assert entry is not None
        return rows.read(entry, _file(config), index, row, args, channels, _scaling(config), repeats)


def _file(config: dict[str, Any]) -> str:
    return config.get("yaml_file") or "the model's configuration"


def _row(config: dict[str, Any], index: int) -> list[Any]:
    row: list[Any] = (config["backbone"] + config["head"])[index]
    return row


def _scaling(config: dict[str, Any]) -> registry.Scaling:
    """Return a config's scaling as `parse_model` takes it: of its scale, or of the first where it names none."""
    scales = config.get("scales")
    if not scales:
        return registry.Scaling(config.get("width_multiple", 1.0), float("inf"), config.get("nc"))
    _, width, max_channels = scales[config.get("scale") or next(iter(scales))]
    return registry.Scaling(width, max_channels, config.get("nc"))


def _is_dispatch(node: ast.stmt) -> bool:
    """Tell whether a statement is an `if` whose last `elif` is followed by the parser's default."""
    while isinstance(node, ast.If) and len(node.orelse) == 1 and isinstance(node.orelse[0], ast.If):
        node = node.orelse[0]
    return isinstance(node, ast.If) and _is_default(node.orelse)


def _is_default(body: list[ast.stmt]) -> bool:
    return len(body) == 1 and ast.unparse(body[0]) == "c2 = ch[f]"


def _future_flags(function: FunctionType) -> int:
    import __future__

    known = (getattr(__future__, name).compiler_flag for name in __future__.all_feature_names)
    return functools.reduce(int.__or__, known, 0) & function.__code__.co_flags


def _unsupported(reason: str) -> UnsupportedUltralyticsError:
    version = importlib.import_module("ultralytics").__version__
    return UnsupportedUltralyticsError(
        f"Ultralytics {version} cannot be extended: {reason}. Tested are {TESTED}: install one of these, such as "
        f"`pip install ultralytics=={TESTED.split()[-1]}`"
    )


def _finding_models(tasks: ModuleType, yaml_model_load: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(yaml_model_load)
    def load(path: Any) -> Any:
        file = configs.find(path)
        if file is None:
            return yaml_model_load(path)
        # Ultralytics strips the scale letter at the leftmost digit and letter of the whole path, so below a folder such
        # as run2n it cannot be made to read the right file.
        config = yaml.safe_load(file.read_text(encoding="utf-8"))
        return {**config, "scale": tasks.guess_model_scale(path), "yaml_file": str(path)}

    return load


def _finding_configs(check_file: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(check_file)
    def check(file: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            found = check_file(file, *args, **kwargs)
        except FileNotFoundError:
            ours = configs.find(str(file))
            if ours is None:
                raise
        else:
            ours = None if found else configs.find(str(file))
        return found if ours is None else str(ours)

    return check


def _importing_us(generate_ddp_file: Callable[..., Any]) -> Callable[..., Any]:
    """Let the process of each GPU know the modules, as this one does, also where nothing else starts the hook there."""

    @functools.wraps(generate_ddp_file)
    def generate(trainer: Any) -> Any:
        file = Path(generate_ddp_file(trainer))
        script = file.read_text(encoding="utf-8")
        active = f'import os\nos.environ["{_startup.SWITCH}"] = "1"\nimport yolo_focal\n'
        file.write_text(active + script, encoding="utf-8")
        return str(file)

    return generate
