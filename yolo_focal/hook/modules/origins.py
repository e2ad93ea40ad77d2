"""Where a user's modules came from: stored in a model's layers, and read from a checkpoint before it is loaded.

Ultralytics installs the package that has the name of a module that Python does not find. That of a user's file may be
the name of anybody's package.
"""

from __future__ import annotations

import importlib.util
import pickletools
import shlex
import sys
import zipfile
from _compat_pickle import IMPORT_MAPPING
from collections.abc import Callable
from importlib.machinery import PathFinder
from pathlib import Path

from torch import nn

from yolo_focal import environment
from yolo_focal.errors import ConfigError
from yolo_focal.hook import forks
from yolo_focal.hook.modules import children

# The folders that forks add files to, and the package of their changed ones.
_OF_FORKS = ("ultralytics.nn.", f"{forks.PACKAGE}.")
_PREFIX = "yolo-focal: from "  # by which the text is found among those of a checkpoint


def store(layer: nn.Module, cls: Callable[..., nn.Module]) -> None:
    """Store in a layer, and so in every checkpoint of it, which of the user's files its class is of.

    Args:
        layer: The layer.
        cls: Its class, or the function that has returned it.
    """
    location = children.files().get(cls.__module__.partition(".")[0])
    if location is not None:
        store_location(layer, location)


def store_location(layer: nn.Module, location: str) -> None:
    """Store in a layer which file, or which fork's folder, its class is of."""
    layer.yolo_focal_origin = _PREFIX + location  # type: ignore[assignment]  # a text, which needs no class


def check(checkpoint: Path) -> set[str]:
    """Check that Python finds the modules that a checkpoint names, and return them; imports none of them.

    Ultralytics' own messages remain: of files that are no checkpoints, and of YOLOv5's, which name `models`.

    Raises:
        ConfigError: It does not find some; the message names the user's file, and the command that does.
        FileNotFoundError: There is no such checkpoint.
    """
    modules, files = _read(checkpoint)
    users = {Path(file).stem for file in files}
    tops = {module: module.partition(".")[0] for module in sorted(modules) if not _is_found(module)}
    missing = [module for module, top in tops.items() if top in users or top != "models"]
    if not missing:
        return modules
    gone = [file for file in files if not Path(file).exists()]
    if gone:
        reason = f"It was trained with {' and '.join(files)}; write where {' and '.join(gone)} is now"
    elif files:
        reason = f"It was trained with {' and '.join(files)}; write"
    elif any(module.startswith(_OF_FORKS) for module in missing):
        files = ["/path/their-fork"]
        reason = "It was trained in a fork of Ultralytics, a copy with modules of its own; write where that is"
    else:
        files = [f"/path/{top}.py" for top in dict.fromkeys(tops[module] for module in missing)]
        reason = "Install the package that it was trained with; if it was a file, write where that is"
    value = ",".join(files)
    raise ConfigError(
        f"{checkpoint} names {' and '.join(missing)}, which Python does not find. {reason}: "
        f"{environment.MODULES}={shlex.quote(value)} yolo val model={checkpoint} "
        f"(on Windows: set {environment.MODULES}={value} first)"
    )


def _is_found(module: str) -> bool:
    top, *parts = module.split(".")
    if module.startswith(_OF_FORKS) and module not in sys.modules:
        try:
            return importlib.util.find_spec(module) is not None
        except ModuleNotFoundError:  # the folder that it is in
            return False
    # Checkpoints have Python 2's names of the standard library's modules, and older ones of Ultralytics' and numpy's.
    if module in sys.modules or top in {*IMPORT_MAPPING, "exceptions", "numpy", "ultralytics"}:
        return True
    spec = importlib.util.find_spec(top)
    for part in parts:
        folders = spec and spec.submodule_search_locations
        spec = PathFinder.find_spec(f"{spec.name}.{part}", folders) if spec and folders else None
    return spec is not None


def _read(checkpoint: Path) -> tuple[set[str], list[str]]:
    """Return the modules that a checkpoint names, and the user's files that are stored in it."""
    try:
        with zipfile.ZipFile(checkpoint) as archive:
            members = {name.partition("/")[2]: name for name in archive.namelist()}
            if "constants.pkl" in members:  # a TorchScript archive, whose classes are its own
                return set(), []
            opcodes = [*pickletools.genops(archive.read(members["data.pkl"]))]
    except (zipfile.BadZipFile, KeyError, ValueError):  # no checkpoint
        return set(), []
    texts = [(opcode.name, value) for opcode, value, _ in opcodes if isinstance(value, str)]
    modules = {value.partition(" ")[0] for opcode, value in texts if opcode == "GLOBAL"}
    return modules, [*dict.fromkeys(value[len(_PREFIX) :] for _, value in texts if value.startswith(_PREFIX))]
