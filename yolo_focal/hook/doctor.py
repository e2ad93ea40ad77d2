"""`yolo-focal doctor`: tells whether the stock `yolo` knows the registered modules, and what to do where it does not.

`examine` starts the `yolo` command's own Python, where `report` tells what it knows.
"""

from __future__ import annotations

import base64
import hashlib
import inspect
import json
import os
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path
from typing import Any

from yolo_focal import _startup, plugins

# What `yolo` does before it builds a model; only then may yolo_focal be imported, as that arms the hook.
_PROBE = """
import sys
import ultralytics.nn.tasks
parser = sys.modules.get("yolo_focal.parser")
active = parser is not None and parser.is_active()
try:
    from yolo_focal import doctor
except ImportError:
    print("REPORT null")
else:
    doctor.report(active, %r)
"""
_INSTEAD = "run `yolo-focal train ...` instead of `yolo train ...`"


def examine() -> tuple[list[str], list[str]]:
    """Start the stock `yolo`'s interpreter, and a child process of it, and ask what they know.

    Returns:
        The findings, a line each, and what is wrong; the stock `yolo` knows the modules where nothing is.
    """
    command = shutil.which("yolo")
    if command is None:
        return [_versions()], ["there is no `yolo` on the PATH: activate the environment that Ultralytics is in"]
    interpreter = _interpreter(Path(command))
    found, printed = _ask(interpreter, _PROBE % "child")
    lines = [_versions(), f"yolo: {command}", f"its Python: {interpreter}"]
    if found is None:
        reason = printed[-1] if printed else "it prints nothing"
        return lines, [
            f"{interpreter} cannot import Ultralytics with yolo-focal ({reason}): run `{interpreter} -m pip install "
            "yolo-focal`, or activate the environment where both are"
        ]
    lines += [f"hook: {_state(found['active'])}", f"hook in a child process: {_state(found['child'])}"]
    lines += [f"tested with Ultralytics {found['tested']}; here is {found['ultralytics']}"]
    lines += [f"registered: {line}" for line in found["registered"]]
    lines += [f"Ultralytics: {line}" for line in found["others"]]
    wrong = [f"{what} cannot be imported: {why}" for what, why in found["failures"].items()]
    if not (found["active"] and found["child"]):
        said = [line for line in printed if "yolo-focal is off" in line]
        wrong += said or [_reason(found)]
    return lines, wrong


def report(active: bool, child: str) -> None:
    """Print what this process knows, for `examine` in another one to read.

    Args:
        active: Whether the hook was active before this module was imported.
        child: Ask a child process too, unless this is empty.
    """
    from ultralytics import YOLO, __version__

    from yolo_focal import parser, registry

    below = _ask(sys.executable, _PROBE % "")[0] if child else None
    found = {
        "active": active,
        "child": bool(below and below["active"]),
        "ultralytics": __version__,
        "torch": version("torch"),
        "tested": parser.TESTED,
        "registered": [_home(name, entry.cls, entry.source) for name, entry in registry.registered().items()],
        "failures": plugins.failures,
        "others": [*parser.changed_by_others(), *_edited(), *_own_classes(YOLO("yolov8n.yaml").task_map)],
    }
    print(f"REPORT {json.dumps(found)}")


def _ask(interpreter: str, code: str) -> tuple[Any, list[str]]:
    done = subprocess.run(
        [interpreter, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    lines = done.stdout.splitlines()
    reports = [line.partition(" ")[2] for line in lines if line.startswith("REPORT ")]
    return json.loads(reports[-1]) if reports else None, lines


def _interpreter(command: Path) -> str:
    """Return the Python that a console script starts: its first line names it, except on Windows."""
    with command.open("rb") as file:
        first = file.readline().decode(errors="replace").strip()
    named = first[2:].strip().strip('"')
    if first.startswith("#!") and Path(named).exists():
        return named
    for folder in (command.parent, command.parent.parent):
        for name in ("python", "python.exe"):
            if (folder / name).exists():
                return str(folder / name)
    return sys.executable


def _versions() -> str:
    return ", ".join(f"{name} {_version(name)}" for name in ("yolo-focal", "ultralytics", "torch")) + (
        f", Python {sys.version.split()[0]}"
    )


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _state(active: bool) -> str:
    return "active, started by torch's entry points" if active else "off"


def _reason(found: dict[str, Any]) -> str:
    if os.environ.get(_startup.SWITCH) == "0":
        return f"{_startup.SWITCH}=0 switches the hook off: unset it, or {_INSTEAD}"
    if os.environ.get("TORCH_DEVICE_BACKEND_AUTOLOAD") == "0":
        return f"TORCH_DEVICE_BACKEND_AUTOLOAD=0 keeps torch from starting the hook: unset it, or {_INSTEAD}"
    if tuple(int(part) for part in found["torch"].split(".")[:2]) < (2, 5):
        return f"torch {found['torch']} does not start the hook: install torch 2.5 or later, or {_INSTEAD}"
    return f"torch does not find the package's entry point: install yolo-focal with pip, or {_INSTEAD}"


def _home(name: str, cls: type, source: str) -> str:
    by = "" if source == cls.__module__ else f", registered by {source}"
    return f"{name} from {cls.__module__} ({inspect.getsourcefile(cls)}){by}"


def _edited() -> list[str]:
    """Compare the parser's file with the hash that was installed with it."""
    import ultralytics.nn.tasks

    try:
        files = distribution("ultralytics").files or []
    except PackageNotFoundError:
        return []
    for file in files:
        if file.as_posix() == "ultralytics/nn/tasks.py" and file.hash is not None:
            digest = hashlib.new(file.hash.mode, Path(ultralytics.nn.tasks.__file__).read_bytes()).digest()
            if base64.urlsafe_b64encode(digest).rstrip(b"=").decode() != file.hash.value:
                return [f"{ultralytics.nn.tasks.__file__} is not as it was installed: it was edited"]
    return []


def _own_classes(task_map: dict[str, dict[str, type]]) -> list[str]:
    return [
        f"the {kind} for {task} is {cls.__module__}.{cls.__qualname__}"
        for task, kinds in task_map.items()
        for kind, cls in kinds.items()
        if cls.__module__.partition(".")[0] != "ultralytics"
    ]
