"""`yolo-focal doctor`: checks whether the stock `yolo` command has the registered modules, and suggests a fix if not.

`examine` starts the interpreter of the `yolo` command, which calls `report` and prints its state as JSON.
"""

from __future__ import annotations

import base64
import hashlib
import inspect
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path
from typing import Any

from yolo_focal import environment

# Does what `yolo` does before it builds a model. yolo_focal is imported after the check, as that arms the hook.
_PROBE = """
import sys
from ultralytics import YOLO
import ultralytics.nn.tasks
patch = sys.modules.get("yolo_focal.hook.patch")
active = patch is not None and patch.is_active()
try:
    from yolo_focal.hook import doctor
except ImportError:
    print("REPORT null")
else:
    doctor.report(active, %r)
"""
_INSTEAD = "run `yolo-focal train ...` instead of `yolo train ...`"


def examine() -> tuple[list[str], list[str]]:
    """Check the hook in the interpreter of the stock `yolo` command and in a child process of it.

    Returns:
        The findings, a line each, and the problems; without problems the stock `yolo` has the registered modules.
    """
    command = shutil.which("yolo")
    if command is None:
        return [_versions()], ["there is no `yolo` on the PATH: activate the environment that Ultralytics is in"]
    interpreter = _interpreter(Path(command))
    state, output = _run_probe(interpreter, _PROBE % "child")
    lines = [_versions(), f"yolo: {command}", f"its Python: {interpreter}"]
    if state is None:
        reason = output[-1] if output else "it prints nothing"
        return lines, [
            f"{interpreter} cannot import Ultralytics with yolo-focal ({reason}): run `{interpreter} -m pip install "
            "yolo-focal`, or activate the environment where both are"
        ]
    lines += [f"hook: {_status(state['active'])}", f"hook in a child process: {_status(state['child'])}"]
    lines += [f"tested with Ultralytics {state['tested']}; here is {state['ultralytics']} in {state['folder']}"]
    lines += _local_copy(state["folder"])
    lines += [f"registered: {line}" for line in state["registered"]]
    lines += state["fork"]
    lines += [f"Ultralytics: {line}" for line in state["others"]]
    problems = [f"{origin}: {error}" for origin, error in state["failures"].items()]
    if not (state["active"] and state["child"]):
        warnings = [line for line in output if "yolo-focal is off" in line]
        problems += warnings or [_reason(state)]
    return lines, problems


def report(active: bool, child: str) -> None:
    """Print the state of this process, for `examine` in another process.

    Args:
        active: Whether the hook was active before this module was imported.
        child: Check a child process too, unless this is empty.
    """
    from ultralytics import YOLO, __file__, __version__

    from yolo_focal.hook import patch, syntax
    from yolo_focal.hook.modules import plugins, registry

    if active:
        plugins.load()  # as the parser does before it builds the first model
    child_state = _run_probe(sys.executable, _PROBE % "")[0] if child else None
    state = {
        "active": active and patch.is_active(),
        "child": bool(child_state and child_state["active"]),
        "ultralytics": __version__,
        "folder": str(Path(__file__).parent),
        "torch": version("torch"),
        "tested": syntax.TESTED,
        "registered": [
            f"{name} from {entry.cls.__module__} ({inspect.getsourcefile(entry.cls)})"
            for name, entry in registry.registered().items()
        ],
        "fork": _fork(),
        "failures": plugins.failures,
        "others": [*patch.changed_by_others(), *_edited(), *_own_classes(YOLO("yolov8n.yaml").task_map)],
    }
    print(f"REPORT {json.dumps(state)}")


def _run_probe(interpreter: str, code: str) -> tuple[Any, list[str]]:
    """Run Python code as a script outside the working directory, whose modules `yolo` does not see either.

    Returns:
        The state that it reports, or None, and all lines that it prints.
    """
    with tempfile.TemporaryDirectory(prefix="yolo-focal-") as folder:
        script = Path(folder) / "yolo_focal_probe.py"
        script.write_text(code, encoding="utf-8")
        process = subprocess.run(
            [interpreter, str(script)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
    lines = process.stdout.splitlines()
    reports = [line.partition(" ")[2] for line in lines if line.startswith("REPORT ")]
    return json.loads(reports[-1]) if reports else None, lines


def _interpreter(command: Path) -> str:
    """Return the Python interpreter of a console script.

    It is named in the `#!` line or, if its path is long or has a space, in the line of shell below. On Windows the
    script is a program, and the interpreter lies beside it or in the folder above.
    """
    with command.open("rb") as file:
        first, second = (file.readline().decode(errors="replace").strip() for _ in range(2))
    candidates = [first[2:].strip().strip('"')] if first.startswith("#!") else []
    if candidates and Path(candidates[0].partition(" ")[0]).name == "env":
        candidates = [shutil.which(candidates[0].split()[-1]) or ""]
    shell = re.match(r"'{3}exec'\s+(.*)", second)
    if shell and candidates:
        candidates = shlex.split(shell[1])[:1]
    candidates += [
        str(folder / name)
        for folder in (command.parent, command.parent.parent)
        for name in ("python", "python3", "python.exe")
    ]
    return next((path for path in candidates if Path(path).is_file()), sys.executable)


def _local_copy(folder: str) -> list[str]:
    """Return a line if scripts that are started here import another Ultralytics than `yolo` does."""
    here = Path.cwd() / "ultralytics"
    if not (here / "__init__.py").is_file() or here.samefile(folder):
        return []
    return [f"note: Python in this folder imports {here} instead, which `yolo` does not"]


def _versions() -> str:
    return ", ".join(f"{name} {_version(name)}" for name in ("yolo-focal", "ultralytics", "torch")) + (
        f", Python {sys.version.split()[0]}"
    )


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _status(active: bool) -> str:
    return "active, started by torch's entry points" if active else "off"


def _reason(state: dict[str, Any]) -> str:
    """Return why the hook is not active, and a fix."""
    if environment.is_switched_off():
        setting = f"{environment.AUTOLOAD}={os.environ[environment.AUTOLOAD]}"
        return f"{setting} switches the hook off: unset it, or {_INSTEAD}"
    if os.environ.get("TORCH_DEVICE_BACKEND_AUTOLOAD") == "0":
        return f"TORCH_DEVICE_BACKEND_AUTOLOAD=0 keeps torch from starting the hook: unset it, or {_INSTEAD}"
    if tuple(int(part) for part in state["torch"].split(".")[:2]) < (2, 5):
        return f"torch {state['torch']} does not start the hook: install torch 2.5 or later, or {_INSTEAD}"
    return f"torch does not find the package's entry point: install yolo-focal with pip, or {_INSTEAD}"


def _fork() -> list[str]:
    """Return a line that says which fork is named, and what rows get of it."""
    from ultralytics.nn import tasks

    from yolo_focal.hook import forks

    fork = forks.current()
    if fork is None:
        return []
    own = [name for name in fork.rows if name not in vars(tasks)]
    return [
        f"fork: {fork.folder}, {len(own)} modules that only it has; `yolo-focal adopt {fork.folder}` tries its files"
    ]


def _edited() -> list[str]:
    """Return a line if the parser's file differs from the hash in the installed package's metadata."""
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
    """Return a line for each model, trainer, validator or predictor class that is not Ultralytics' own."""
    return [
        f"the {kind} for {task} is {cls.__module__}.{cls.__qualname__}"
        for task, kinds in task_map.items()
        for kind, cls in kinds.items()
        if cls.__module__.partition(".")[0] != "ultralytics"
    ]
