"""The `yolo-focal` command, with the `yolo` command's syntax: a subcommand, then `key=value` arguments."""

from __future__ import annotations

import difflib
import importlib.util
import os
import platform
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from yolo_focal import environment
from yolo_focal.errors import ConfigError, YoloFocalError, one_line
from yolo_focal.hook import configs
from yolo_focal.twin import config, derive

_HELP = """yolo-focal derive model=yolo11n-seg.yaml [save=PATH] [replace=SPPF]
    write the focal twin of a model YAML of Ultralytics' or your own: FocalModulation in the rows of another module
yolo-focal derive model=yolov8n.pt images=FOLDER [data=my.yaml] [save=PATH] [replace=SPPF]
    make the focal twin of a trained checkpoint, with the new layer fitted to the old one's output on images
    (no labels needed); with data= both are validated
yolo-focal derive model=yolov8n.pt after=SPPF with=C2Focal [data=my.yaml] [save=PATH]
    insert a module behind another, or in its place with replace=; the other layers keep their weights, and C2Focal and
    FocalModulation behind another start as the identity: without images, the twin computes what the original does
yolo-focal derive model=yolo11n.pt replace=C2PSA with=C2Focal images=FOLDER [data=my.yaml] [save=PATH]
    take the attention out of a trained YOLO11 or YOLO26, for large images; the new layers are fitted to its output
yolo-focal derive model=yolov8s-focalnet.yaml weights=focalnet_tiny_lrf.ms_in1k [save=PATH]
    make a checkpoint of a model with FocalNet from published weights: a name of timm's, which is downloaded, or a state
    dict of the paper's code, timm or transformers (.pth, .bin, .safetensors)
yolo-focal derive model=yolov8s-timm.yaml backbone=resnet50 [save=PATH]
    write the model YAML with another backbone: any model of timm that has feature maps of the strides 8, 16 and 32
yolo-focal visualize model=best.pt source=photos/ [layer=9]
    draw what FocalModulation computes on each image: the modulator, the gates and the context of each focal level
yolo-focal compare data=my.yaml models=yolov8n.yaml,yolov8n-focal.yaml [seeds=5] [parallel=1] [any train argument]
    train each model with each seed and report which is better, by how much, and whether that is more than noise;
    models=yolov8n.yaml,collection stands for all packaged modules in that model;
    data=a.yaml,b.yaml,c.yaml (or a folder of such files) asks it of data sets like these, with one verdict over all;
    the same command resumes an interrupted comparison; engine=ray sends the runs to a Ray cluster
    [engine=ray] [address=10.0.0.1:6379] [storage=s3://bucket/folder]
    [device=0,1] [per_device=1] [gpus_per_run=1] [split=test|val] [folds=5] [margin=0.005] [all_pairs=True]
    [control=True], which adds the first model at the width that costs what the dearest of the others costs
    [snapshot_every=1] [lang=zh] [budget=12h], which chooses the models that it is spent on by short trainings
yolo-focal compare status name=NAME [watch=True]
    print how far a comparison is, from another terminal: each run's epoch, metric and time left
yolo-focal adopt FORK [model=one.yaml]
    try the model YAML files of a fork, a copy of Ultralytics with modules of its own, on the installed release; nothing
    is written into it. Name it as YOLO_FOCAL_MODULES=FORK, and the stock `yolo` has its modules
yolo-focal new my_blocks.py name=MyBlock
    write a commented file to start a module of your own from, and print how to train with it
yolo-focal copy-cfg [dir=cfg]
    copy the packaged model and data YAML files to a folder
yolo-focal shapes-cls [dir=shapes-cls]
    draw the shapes as a classification folder; for the other tasks data=shapes.yaml, shapes-seg.yaml... draw them
yolo-focal version
    print the versions of this package, Ultralytics, torch and Python, in one line
yolo-focal doctor
    check whether the stock `yolo` knows the registered modules, and print what to do if it does not
yolo-focal train|val|predict|track|export|benchmark|... ARGS
    the stock command with the hook active, for environments where the stock `yolo` does not know the modules

Everything else is the stock command: yolo train model=yolov8n-focal.yaml data=my.yaml"""


def main() -> None:
    """Run the command line; on an error exit with status 1 and its message on standard error."""
    try:
        _run(sys.argv[1:])
        sys.stdout.flush()
    except BrokenPipeError:  # whoever reads has enough, such as `head`; Python would report it once more at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def _run(arguments: list[str]) -> None:
    if not arguments or arguments[0] in {"help", "-h", "--help"}:
        print(_HELP)
        return
    if arguments[0] in {"version", "-v", "--version"}:
        print(_versions())
        return
    # Before torch is imported: threads that spin while they wait slow down whatever else uses the machine, and itself.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    name, *rest = arguments
    if rest and f"{name} {rest[0]}" in _COMMANDS:
        name, rest = f"{name} {rest[0]}", rest[1:]
    try:
        if name not in _COMMANDS and _is_ultralytics(name):
            _run_ultralytics()
            return
        if name not in _COMMANDS:
            raise ConfigError(f"yolo-focal {name}: no such command{_suggest(name, list(_COMMANDS))}. It has:\n{_HELP}")
        command, keys = _COMMANDS[name]
        command(_parse(name, rest, keys))
    except (YoloFocalError, FileNotFoundError) as error:
        sys.exit(str(error))
    except ConnectionError as error:
        # Ultralytics raises the bare one, where it cannot download what is missing; a closed pipe is another kind.
        if type(error) is not ConnectionError:
            raise
        sys.exit(f"yolo-focal {name}: {one_line(error)} Put the files there by hand, or try again with a network")
    except KeyboardInterrupt:
        print(
            f"yolo-focal {name}: stopped; {_WHEN_STOPPED.get(name, 'the same command starts again')}", file=sys.stderr
        )
        sys.exit(130)  # as a shell reports a command that Ctrl-C has ended


def _versions() -> str:
    """Return the versions that a result depends on, read without importing torch, which takes seconds."""
    packages = [f"{name} {_version(name)}" for name in ("yolo-focal", "ultralytics", "torch")]
    return ", ".join([*packages, f"Python {platform.python_version()}"])


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # a clone on the path, or installed under another name
        found = importlib.util.find_spec(package.replace("-", "_"))
        return "(installed without its metadata)" if found else "(not installed)"


class _Example(str):
    """An example value for a required key, in the place of a default."""


def _parse(command: str, arguments: list[str], keys: dict[str, str]) -> dict[str, str]:
    """Parse `key=value` arguments.

    Args:
        command: Name of the subcommand.
        arguments: The arguments after it.
        keys: Each key with its default, or with an `_Example` if it is required.

    Raises:
        ConfigError: An argument is malformed, unknown or missing.
    """
    values = {key: default for key, default in keys.items() if not isinstance(default, _Example)}
    first = _FIRST.get(command)
    if first is not None and arguments and "=" not in arguments[0]:
        arguments = [f"{first}={arguments[0]}", *arguments[1:]]
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if not equals or not value or (key not in keys and command not in _WITH_TRAIN_ARGUMENTS):
            valid = ", ".join(f"{k}=" for k in keys)
            hint = _suggest(key, list(keys))
            raise ConfigError(f"yolo-focal {command}: {argument}: write key=value, with {valid}{hint}")
        values[key] = value
    missing = [f"{key}={default}" for key, default in keys.items() if key not in values]
    if missing:
        names = " and ".join(f"{example.partition('=')[0]}=" for example in missing)
        verb = "is" if len(missing) == 1 else "are"
        raise ConfigError(f"yolo-focal {command}: {names} {verb} missing, such as {' '.join(missing)}")
    return values


def _suggest(name: str, valid: list[str]) -> str:
    matches = difflib.get_close_matches(name, valid, n=1)
    return f" (did you mean {matches[0]}?)" if matches else ""


def _is_ultralytics(word: str) -> bool:
    """Return whether Ultralytics' own command takes a first word: a mode, a task, an argument such as mode=predict."""
    from ultralytics.cfg import DEFAULT_CFG_DICT, MODES, TASKS  # imported only when needed: it takes seconds

    key, equals, _ = word.partition("=")
    return (equals and key in DEFAULT_CFG_DICT) or word in {*MODES, *TASKS, "solutions", "checks", "settings", "cfg"}


def _run_ultralytics() -> None:
    """Run Ultralytics' own command with the hook active; it reads the same `sys.argv`."""
    os.environ[environment.AUTOLOAD] = "1"  # for child processes too
    # Ultralytics saves predictions by default only if the command's name is `yolo`.
    sys.argv[0] = str(Path(sys.argv[0]).with_name("yolo"))
    from ultralytics.cfg import entrypoint

    from yolo_focal.hook import patch

    patch.activate()
    entrypoint()


def _doctor(values: dict[str, str]) -> None:  # noqa: ARG001  the command has no keys
    from yolo_focal.hook import doctor

    lines, problems = doctor.examine()
    print("\n".join(lines))
    if problems:
        sys.exit("\n".join(f"problem: {line}" for line in problems))
    print("The stock `yolo` knows the registered modules.")


def _compare(values: dict[str, str]) -> None:
    from ultralytics.cfg import smart_value  # imported only when needed: it imports torch

    from yolo_focal.comparison.compare import compare

    models, data, name, engine = (values.pop(key) for key in ("models", "data", "name", "engine"))
    address, storage = (values.pop(key) or None for key in ("address", "storage"))
    arguments = {key: smart_value(value) for key, value in values.items()}
    frame = compare(data, models, name=name, engine=engine, address=address, storage=storage, **arguments)
    failed = len(frame) - frame["finished"].sum()
    if failed:
        sys.exit(f"{failed} of {len(frame)} runs failed; the same command tries them again")


def _compare_status(values: dict[str, str]) -> None:
    from yolo_focal.comparison.status import status  # imported only when needed: it imports Ultralytics

    if values["watch"] not in {"True", "False"}:
        raise ConfigError(f"yolo-focal compare status: watch={values['watch']}: write watch=True or watch=False")
    watch = values["watch"] == "True"
    clear = "\x1b[H\x1b[2J" if watch and sys.stdout.isatty() else ""  # ANSI: the cursor to the top of an empty screen
    for text in status(values["name"], watch):
        print(f"{clear}{text}", flush=True)


def _visualize(values: dict[str, str]) -> None:
    # Imported only when needed: it imports torch and Ultralytics.
    from yolo_focal.visualization.visualizer import visualize

    visualize(values["model"], values["source"], values["layer"] or None)


def _copy(values: dict[str, str]) -> None:
    folder = Path(values["dir"])
    copies = {folder / file.name: file.read_bytes() for file in sorted(configs.folder().glob("*.yaml"))}
    different = [path for path, data in copies.items() if path.exists() and path.read_bytes() != data]
    if different:
        raise ConfigError(f"{different[0]}: there is another file of that name; write dir= with a new folder")
    for path, data in copies.items():
        config.save(data.decode("utf-8"), path)
    print(f"{len(copies)} files in {folder}")


def _new(values: dict[str, str]) -> None:
    from yolo_focal.hook import starter

    print("\n".join(starter.write(values["file"], values["name"])))


def _adopt(values: dict[str, str]) -> None:
    from yolo_focal.hook.forks import adopt  # imported only when needed: it imports torch and Ultralytics

    print("\n".join(adopt.adopt(values["fork"], values["model"])))


def _shapes(values: dict[str, str]) -> None:
    from yolo_focal.shapes import draw  # imported only when needed: OpenCV and Ultralytics take seconds

    draw(values["dir"], "classify")
    print(f"yolo train model=yolov8n-focal-cls.yaml data={values['dir']} imgsz=128")


_WHEN_STOPPED = {
    "compare": "the same command goes on where it was",
    "derive": "nothing was written, and the same command starts again",
    "train": "add resume=True and model=.../weights/last.pt to go on after the last whole epoch",
}
_FIRST = {"adopt": "fork", "new": "file"}  # commands whose first argument may stand without its key
_WITH_TRAIN_ARGUMENTS = {"compare"}  # commands that also take any argument of `yolo train`
_COMMANDS: dict[str, tuple[Callable[[dict[str, str]], None], dict[str, str]]] = {
    "derive": (derive.derive, {"model": _Example("yolo11n-seg.yaml"), **derive.DEFAULTS}),
    "visualize": (_visualize, {"model": _Example("best.pt"), "source": _Example("photos/"), "layer": ""}),
    "compare": (
        _compare,
        {
            "data": _Example("my.yaml"),
            "models": _Example("yolov8n.yaml,yolov8n-focal.yaml"),
            "seeds": "5",
            "name": "compare",
            "engine": "local",
            "address": "",
            "storage": "",
        },
    ),
    "compare status": (_compare_status, {"name": "compare", "watch": "False"}),
    "adopt": (_adopt, {"fork": _Example("~/their-fork"), "model": ""}),
    "new": (_new, {"file": _Example("my_blocks.py"), "name": _Example("MyBlock")}),
    "copy-cfg": (_copy, {"dir": "cfg"}),
    "shapes-cls": (_shapes, {"dir": "shapes-cls"}),
    "doctor": (_doctor, {}),
}
