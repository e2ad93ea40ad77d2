"""The patch of Ultralytics' model parser: the one file that knows Ultralytics' insides.

Three functions are replaced while the patch is active, wherever Ultralytics' modules hold them by name:

- `ultralytics.nn.tasks.parse_model` builds the layers. Its dispatch on the row's module ends in `else: c2 = ch[f]`; one
  `elif` for registered modules is put before that. The rest of the function is Ultralytics' own source, compiled under
  its own file name with its own line numbers, so tracebacks and breakpoints still show it.
- `ultralytics.nn.tasks.yaml_model_load` also finds the packaged model configs.
- `ultralytics.utils.checks.check_file` also finds the packaged data configs.
"""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import sys
import threading
from collections.abc import Sequence
from types import FunctionType, ModuleType
from typing import Any, Callable, NamedTuple

import torch
import yaml

from yolo_focal import configs, registry, rows
from yolo_focal.errors import UnsupportedUltralyticsError

TESTED = "8.1.0 to 8.4.190"

_TASKS = "ultralytics.nn.tasks"
_CHECKS = "ultralytics.utils.checks"


class _Replaced(NamedTuple):
    name: str
    original: Callable[..., Any]
    replacement: Callable[..., Any]


_lock = threading.RLock()
_replaced: list[_Replaced] = []  # empty where the patch is not active
_injected: list[str] = []  # registered names that were put into the parser's globals


def activate() -> None:
    """Make Ultralytics' model parser know the registered modules, in this process.

    Calling it again does nothing. Where the package's hook is armed, it is called as soon as Ultralytics is imported.

    Raises:
        UnsupportedUltralyticsError: The installed Ultralytics has a parser of another shape.
    """
    # Imported before the lock is taken: another thread that is importing it holds its import lock and wants ours.
    tasks = importlib.import_module(_TASKS)
    checks = importlib.import_module(_CHECKS)
    with _lock:
        if _replaced:
            return
        replaced = [
            _Replaced("parse_model", tasks.parse_model, _with_branch(tasks.parse_model)),
            _Replaced("yaml_model_load", tasks.yaml_model_load, _finding_models(tasks.yaml_model_load, tasks)),
            _Replaced("check_file", checks.check_file, _finding_configs(checks.check_file)),
        ]
        _allow_in_restricted_loading()
        for name, cls in registry.MODULES.items():
            # A fork may have a class of that name already, and checkpoints that were made with it: leave it that one.
            if name not in vars(tasks):
                setattr(tasks, name, cls)
                _injected.append(name)
        for one in replaced:
            _swap(one.name, one.original, one.replacement)
        _replaced.extend(replaced)


def deactivate() -> None:
    """Put Ultralytics' own functions back, in this process; does nothing where the patch is not active.

    Models that are already built stay as they are. What restricted checkpoint loading accepts is left as it is:
    torch has no safe way to take a class back while another thread is loading.
    """
    with _lock:
        for one in _replaced:
            _swap(one.name, one.replacement, one.original)
        tasks = sys.modules.get(_TASKS)
        for name in _injected:
            vars(tasks).pop(name, None)
        _replaced.clear()
        _injected.clear()


def is_active() -> bool:
    """Return whether Ultralytics' model parser knows the registered modules, in this process."""
    return bool(_replaced)


def _swap(name: str, old: object, new: object) -> None:
    """Replace a function in every module of Ultralytics that holds it: many import it by name from one another."""
    for module_name, module in list(sys.modules.items()):
        if module_name.partition(".")[0] == "ultralytics" and getattr(module, "__dict__", {}).get(name) is old:
            setattr(module, name, new)


def _with_branch(parse_model: FunctionType) -> FunctionType:
    """Compile `parse_model` again with a branch for registered modules before the dispatch's final `else`."""
    try:
        lines, first = inspect.getsourcelines(parse_model.__code__)  # of this very function, not of one it wraps
        function = ast.parse("".join(lines)).body[0]
    except (OSError, TypeError, SyntaxError) as error:
        raise _unsupported(f"the source of parse_model cannot be read ({error})") from error
    ends = [node for node in ast.walk(function) if isinstance(node, ast.If) and _is_default(node.orelse)]
    if not isinstance(function, ast.FunctionDef) or len(ends) != 1:
        raise _unsupported(f"parse_model ends {len(ends)} branches with `else: c2 = ch[f]`, where one is expected")
    end = ends[0]
    branch = ast.parse(
        "if _yolo_focal.is_registered(m):\n    c2, m, args = _yolo_focal.read_row(m, d, i, f, args, ch)"
    ).body[0]
    assert isinstance(branch, ast.If)
    for node in ast.walk(branch):
        ast.copy_location(node, end.orelse[0])  # so that an error in the branch points at the parser's `else`
    branch.orelse, end.orelse = end.orelse, [branch]

    # The branch reaches us through a closure: the parser's globals are Ultralytics', and a build that is under way in
    # another thread goes on undisturbed when the patch is taken back.
    factory = ast.parse("def _factory(_yolo_focal):\n    return None").body[0]
    assert isinstance(factory, ast.FunctionDef)
    function.decorator_list = []
    factory.body = [function, ast.Return(ast.Name(function.name, ast.Load()))]
    module = ast.fix_missing_locations(ast.Module([factory], []))
    ast.increment_lineno(module, first - 1)
    code = compile(module, parse_model.__code__.co_filename, "exec", _future_flags(parse_model), dont_inherit=True)
    namespace: dict[str, Any] = {}
    exec(code, parse_model.__globals__, namespace)
    patched: FunctionType = namespace["_factory"](_Branch)
    patched.__qualname__ = parse_model.__qualname__
    return patched


class _Branch:
    """What the branch in the parser calls."""

    is_registered = staticmethod(registry.is_registered)

    @staticmethod
    def read_row(
        module: Any, config: dict[str, Any], index: int, source: Any, args: Sequence[Any], channels: Sequence[int]
    ) -> tuple[int, rows.Row, list[Any]]:
        file = config.get("yaml_file") or "the model's configuration"
        return rows.read(module, file, index, source, args, channels)


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


def _finding_models(yaml_model_load: Callable[..., Any], tasks: ModuleType) -> Callable[..., Any]:
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


def _allow_in_restricted_loading() -> None:
    """Let `torch.load(weights_only=True)`, and so Ultralytics' restricted loading, rebuild the registered classes."""
    if hasattr(torch.serialization, "add_safe_globals"):  # torch 2.4 and later
        torch.serialization.add_safe_globals(list(registry.MODULES.values()))
