"""The `yolo-focal` command, in the `yolo` command's own style: a word, then `key=value`."""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Callable
from pathlib import Path

from yolo_focal import configs, derive
from yolo_focal._startup import SWITCH
from yolo_focal.errors import ConfigError, YoloFocalError

_HELP = """yolo-focal derive model=yolo11n-seg.yaml [save=PATH] [replace=SPPF]
    write the focal twin of a model YAML of Ultralytics' or your own: FocalModulation in the rows of another module
yolo-focal derive model=yolov8n.pt images=FOLDER [data=my.yaml] [save=PATH] [replace=SPPF]
    make the focal twin of a trained checkpoint, with the new layer fitted to what the old one computes on pictures
    (no labels needed); with data= it is validated before and after
yolo-focal visualize model=best.pt source=photos/ [layer=9]
    draw what FocalModulation computes on each picture: the modulator, the gates and the context of each focal level
yolo-focal compare data=my.yaml models=yolov8n.yaml,yolov8n-focal.yaml [seeds=5] [workers=1] [any yolo train argument]
    train each model with each seed and say which is better, by how much, and whether that is more than noise;
    the same command goes on where it was (engine=ray [address=...] sends the runs to a Ray cluster)
yolo-focal copy-cfg [dir=cfg]
    copy the packaged model and data YAML files to a folder
yolo-focal shapes-cls [dir=shapes-cls]
    draw the shapes as a classification folder; for the other tasks data=shapes.yaml, shapes-seg.yaml... draw them
yolo-focal doctor
    tell whether the stock `yolo` knows the registered modules, and what to do where it does not
yolo-focal train|val|predict|track|export|benchmark|... ARGS
    the stock command with the hook active, for where the stock `yolo` does not know the modules

Everything else is the stock command: yolo train model=yolov8n-focal.yaml data=my.yaml"""


def main() -> None:
    """Run the command line; exit with status 1 and one line on standard error where something is wrong."""
    arguments = sys.argv[1:]
    if not arguments or arguments[0] in {"help", "-h", "--help"}:
        print(_HELP)
        return
    try:
        word, *rest = arguments
        if word not in _COMMANDS and _is_ultralytics(word):
            _hand_over()
            return
        if word not in _COMMANDS:
            raise ConfigError(f"yolo-focal {word}: no such command{_close(word, list(_COMMANDS))}. It has:\n{_HELP}")
        command, keys = _COMMANDS[word]
        command(_read(word, rest, keys))
    except (YoloFocalError, FileNotFoundError) as error:
        sys.exit(str(error))


class _Example(str):
    """Stands where a default would: the key must be given, with a value such as this one."""


def _read(word: str, arguments: list[str], keys: dict[str, str]) -> dict[str, str]:
    """Read `key=value` arguments."""
    values = {key: default for key, default in keys.items() if not isinstance(default, _Example)}
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if not equals or not value or (key not in keys and word not in _OPEN):
            wanted = ", ".join(f"{k}=" for k in keys)
            raise ConfigError(f"yolo-focal {word}: {argument}: write key=value, with {wanted}{_close(key, list(keys))}")
        values[key] = value
    for key, default in keys.items():
        if key not in values:
            raise ConfigError(f"yolo-focal {word}: {key}= is missing, such as {key}={default}")
    return values


def _close(given: str, known: list[str]) -> str:
    matches = difflib.get_close_matches(given, known, n=1)
    return f" (did you mean {matches[0]}?)" if matches else ""


def _is_ultralytics(word: str) -> bool:
    from ultralytics.cfg import MODES, TASKS  # not before it is needed: it takes seconds

    return word in {*MODES, *TASKS, "solutions", "checks", "settings", "cfg", "version"}


def _hand_over() -> None:
    """Run Ultralytics' own command, which reads the same `sys.argv`."""
    os.environ[SWITCH] = "1"  # for child processes too
    from ultralytics.cfg import entrypoint

    from yolo_focal import parser

    parser.activate()
    entrypoint()


def _doctor(values: dict[str, str]) -> None:  # noqa: ARG001  it takes none
    from yolo_focal import doctor

    lines, wrong = doctor.examine()
    print("\n".join(lines))
    if wrong:
        sys.exit("\n".join(f"problem: {line}" for line in wrong))
    print("The stock `yolo` knows the registered modules.")


def _derive(values: dict[str, str]) -> None:
    if Path(values["model"]).suffix == ".pt":
        from yolo_focal import checkpoint  # not before it is needed: it imports torch and Ultralytics

        path = Path(values["save"] or derive.name_of_twin(Path(values["model"]).name))
        checkpoint.derive_checkpoint(values["model"], path, values["images"], values["data"], values["replace"])
    else:
        _derive_yaml(values)


def _derive_yaml(values: dict[str, str]) -> None:
    for key in ("images", "data"):
        if values[key]:
            raise ConfigError(
                f"yolo-focal derive: {key}={values[key]}: {values['model']} has no weights to carry over; "
                f"leave {key}= out, or write model= with a .pt file"
            )
    original = configs.model(values["model"])
    twin = derive.twin(original.read_text(encoding="utf-8"), values["model"], values["replace"])
    path = Path(values["save"] or derive.name_of_twin(original.name))
    written = derive.save(twin.text, path)
    print("\n".join(twin.changes))
    print(f"{path}: {'written' if written else 'is there already, the same'}")


def _compare(values: dict[str, str]) -> None:
    from ultralytics.cfg import smart_value  # not before it is needed: it imports torch

    from yolo_focal.comparison.compare import compare

    models, data, name, engine = (values.pop(key) for key in ("models", "data", "name", "engine"))
    address = values.pop("address") or None
    given = {key: smart_value(value) for key, value in values.items()}
    frame = compare(data, models.split(","), name=name, engine=engine, address=address, **given)
    failed = len(frame) - frame["finished"].sum()
    if failed:
        sys.exit(f"{failed} of {len(frame)} runs failed; the same command tries them again")


def _visualize(values: dict[str, str]) -> None:
    from yolo_focal.visualizer import visualize  # not before it is needed: it imports torch and Ultralytics

    visualize(values["model"], values["source"], values["layer"] or None)


def _copy(values: dict[str, str]) -> None:
    folder = Path(values["dir"])
    copies = {folder / file.name: file.read_text(encoding="utf-8") for file in sorted(configs.folder().glob("*.yaml"))}
    other = [path for path, text in copies.items() if path.exists() and path.read_text(encoding="utf-8") != text]
    if other:
        raise ConfigError(f"{other[0]}: there is another file of that name; write dir= with a new folder")
    for path, text in copies.items():
        derive.save(text, path)
    print(f"{len(copies)} files in {folder}")


def _shapes(values: dict[str, str]) -> None:
    from yolo_focal.shapes import draw  # not before it is needed: OpenCV and Ultralytics take seconds to import

    draw(values["dir"], "classify")
    print(f"yolo train model=yolov8n-focal-cls.yaml data={values['dir']} imgsz=128")


_OPEN = {"compare"}  # takes whatever `yolo train` takes besides
_COMMANDS: dict[str, tuple[Callable[[dict[str, str]], None], dict[str, str]]] = {
    "derive": (
        _derive,
        {"model": _Example("yolo11n-seg.yaml"), "images": "", "data": "", "save": "", "replace": "SPPF"},
    ),
    "visualize": (_visualize, {"model": _Example("best.pt"), "source": _Example("photos/"), "layer": ""}),
    "compare": (
        _compare,
        {
            "data": _Example("my.yaml"),
            "models": _Example("yolov8n.yaml,yolov8n-focal.yaml"),
            "seeds": "5",
            "name": "compare",
            "workers": "1",
            "engine": "local",
            "address": "",
        },
    ),
    "copy-cfg": (_copy, {"dir": "cfg"}),
    "shapes-cls": (_shapes, {"dir": "shapes-cls"}),
    "doctor": (_doctor, {}),
}
