"""The patch of Ultralytics' model parser and of functions around it, taken and given back.

The parser's function object stays the same and only its `__code__` changes (`syntax`), so references to it and wrappers
around it are patched too.

Four more functions are replaced in every module of Ultralytics that has imported them by name:

- `ultralytics.nn.tasks.yaml_model_load` also finds the packaged model configs.
- `ultralytics.nn.tasks.torch_safe_load` imports the user's files before it loads a checkpoint, or says what is missing.
- `ultralytics.utils.checks.check_file` also finds the packaged data configs.
- `ultralytics.utils.dist.generate_ddp_file` writes multi-GPU training scripts that also import this package.

And a method: `ultralytics.nn.tasks.BaseModel.load` finds a model's layers in weights whose layers have other indices.
Ultralytics' trainers get a callback, which warns where `freeze=` freezes layers that start fresh.
"""

from __future__ import annotations

import functools
import importlib
import sys
import threading
from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

from yolo_focal.hook import configs, forks, layer_seed, wrappers
from yolo_focal.hook.modules import finder, registry
from yolo_focal.hook.rows import stock
from yolo_focal.hook.syntax import Recoded, recompile, wrapped

_TASKS = "ultralytics.nn.tasks"
_CHECKS = "ultralytics.utils.checks"
_DIST = "ultralytics.utils.dist"
_FREEZING = "yolo_focal.hook.freezing"


class _Replaced(NamedTuple):
    """A function of a module, or a method of a class, that is replaced by a wrapper."""

    owner: ModuleType | type
    name: str
    original: Callable[..., Any]
    replacement: Callable[..., Any]


_lock = threading.RLock()
_recoded: Recoded | None = None  # the last parser that was patched; it may have been imported anew since
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
    heads, freezing = (importlib.import_module(f"yolo_focal.hook.{name}") for name in ("heads", "freezing"))
    with _lock:
        _undo_early()
        if not is_active():
            recoded = recompile(tasks.parse_model)
            recoded.function.__code__ = recoded.patched
            stock.use(recoded.function.__globals__, recoded.original.co_names, recoded.leaves_nc)
            _recoded = recoded
        heads.add()
        freezing.add()
        finder.install()  # a checkpoint may be unpickled without Ultralytics' functions
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
        forks.uninstall()
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
    functions = wrapped(getattr(tasks, "parse_model", None), set())
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
