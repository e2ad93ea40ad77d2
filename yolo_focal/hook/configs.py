"""Lookup of model and data YAML files: the packaged ones and Ultralytics' own."""

from __future__ import annotations

import difflib
import importlib.util
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from yolo_focal.errors import ConfigError

_PACKAGE = Path(__file__).resolve().parents[1]


def folder() -> Path:
    """Return the folder of the packaged configs: `cfg/` of the checkout, or the copy inside an installed wheel."""
    project = _PACKAGE.parent / "pyproject.toml"
    # The checkout's folder takes precedence: an editable install also copies it, and that copy becomes outdated.
    if project.is_file() and re.search(r'^name = "yolo-focal"$', project.read_text("utf-8", "replace"), re.MULTILINE):
        return _PACKAGE.parent / "cfg"
    return _PACKAGE / "cfg"


def input_channels(config: Mapping[str, Any]) -> int:
    """Return how many channels the images have that a parsed model YAML is for; some releases call them `ch`."""
    channels: int = config.get("channels", config.get("ch", 3))
    return channels


def without_scale(name: str) -> str:
    """Return a config's file name without its scale letter: `yolov8n-focal.yaml` becomes `yolov8-focal.yaml`."""
    return re.sub(r"(\d+)[nslmx]", r"\1", name, count=1)


def find(path: str | Path) -> Path | None:
    """Find the config for a path that does not exist itself.

    Candidates, in this order: the file in the same folder without the scale letter; then, for a bare name or one below
    `cfg/`, the packaged configs with and without the scale letter.

    Args:
        path: Path as the user wrote it, such as `yolov8n-focal.yaml` or `/data/run2n/cfg/yolov8n-focal.yaml`.

    Returns:
        The file, or None if `path` itself exists or no candidate does.
    """
    path = Path(path)
    if path.suffix not in {".yaml", ".yml"} or path.exists():
        return None
    candidates = [path.with_name(without_scale(path.name))]
    if path.parent in {Path(), Path("cfg")}:
        candidates += [folder() / path.name, folder() / without_scale(path.name)]
    return next((c for c in candidates if c.is_file()), None)


def is_packaged(file: str | Path) -> bool:
    """Return whether a model YAML, as the user named it, is one of this package's own."""
    found = find(file) or Path(file)
    return found.is_file() and found.resolve().parent == folder().resolve()


class FoundEarly:
    """Ultralytics' `check_file`, finding the packaged configs too before the parser's patch does.

    The `yolo` command reads the file of `cfg=` before it imports what that patch waits for. Once the patch is loaded,
    it alone decides.

    Args:
        check_file: Ultralytics' own.
    """

    def __init__(self, check_file: Callable[..., Any]) -> None:
        self.check_file = check_file

    def __call__(self, file: Any, *args: Any, **kwargs: Any) -> Any:
        """Return the path of a file, as Ultralytics' own does."""
        try:
            return self.check_file(file, *args, **kwargs)
        except FileNotFoundError:
            packaged = None if "yolo_focal.hook.patch" in sys.modules else find(str(file))
            if packaged is None:
                raise
            return str(packaged)


def model(name: str, argument: str = "model") -> Path:
    """Find a model YAML: an existing file, a packaged config, or one of Ultralytics' own.

    Args:
        name: A path or a bare name, with or without a scale letter, such as `yolo11n-seg.yaml`.
        argument: The argument that the user gave it in, for messages.

    Raises:
        ConfigError: There is no such file; the message lists similar names.
    """
    path = Path(name)
    if path.is_file() and path.suffix in {".yaml", ".yml"}:
        return path
    packaged = find(name)
    if packaged is not None:
        return packaged
    shipped = _shipped()
    for candidate in (name, without_scale(name)):
        if candidate in shipped:
            return shipped[candidate]
    if path.suffix not in {"", ".yaml", ".yml"}:
        expected = "write a model YAML, or the checkpoint (.pt) that an exported model was made of"
        raise ConfigError(f"{argument}={name}: {expected}")
    hint = suggestion(name) or "write a path, or a name such as yolo11n-seg.yaml"
    raise ConfigError(f"{argument}={name}: there is no such model YAML; {hint}")


def suggestion(name: str | Path) -> str:
    """Return what to write in the place of a name, such as "did you mean ...?" with similar names, or "".

    Args:
        name: A path or a bare name of a file that does not exist; its scale letter is kept.
    """
    path, name, shipped = str(name), Path(name).name, _shipped()
    if not Path(name).suffix:
        with_suffix = f"{path}.yaml"
        return f"did you mean {with_suffix}?" if find(with_suffix) or without_scale(f"{name}.yaml") in shipped else ""
    original = re.sub(r"-(c2)?focal", "", name, count=1)
    if original != name and {original, without_scale(original)} & shipped.keys():
        change = " after=SPPF with=C2Focal" if "-c2focal" in name else ""
        return f"it is not among the packaged ones: write it with yolo-focal derive model={original}{change}"
    letter = re.search(r"\d+([nslmx])", name)
    known = [file.name for file in folder().glob("*.yaml")] + list(shipped)
    close = difflib.get_close_matches(without_scale(name), known, n=3, cutoff=0.75)
    if letter is not None:
        close = [re.sub(r"(\d+)", rf"\g<1>{letter[1]}", match, count=1) for match in close]
    return f"did you mean {', '.join(close)}?" if close else ""


def check_model(name: str | Path, config: Any) -> None:
    """Check that a YAML file, as the user named it, describes a model that the installed Ultralytics can build.

    Raises:
        ConfigError: It has no backbone and head, or it is a packaged one of a family that this release does not have.
    """
    if not (isinstance(config, dict) and {"backbone", "head"} <= config.keys()):
        what = "no backbone and head; write a model YAML, such as model=yolov8n-focal.yaml"
        if isinstance(config, dict) and {"train", "names"} <= config.keys():
            what = f"a data set; write data={name}, and a model, such as model=yolov8n-focal.yaml"
        elif isinstance(config, dict) and {"lr0", "optimizer"} & config.keys():
            what = f"settings of a training; write cfg={name}, and a model, such as model=yolov8n-focal.yaml"
        raise ConfigError(f"model={name}: this file has {what}")
    family = re.match(r"yolov?\d+", Path(name).name)
    if is_packaged(name) and family is not None and f"{family[0]}.yaml" not in _shipped():
        raise ConfigError(
            f"model={name}: the installed Ultralytics has no {family[0]}; install a newer one: pip install -U "
            "ultralytics"
        )


class Derivation(NamedTuple):
    """How the weights of a packaged model are made.

    Attributes:
        how: What they are made from, in words.
        arguments: Those of `yolo-focal derive`, without `save=`.
    """

    how: str
    arguments: str


def derivation_of(name: str | Path) -> Derivation | None:
    """Return how the weights of a packaged model are made, or None if it is not a packaged one.

    Args:
        name: A file's name with any suffix, such as `yolov8n-focal-seg.pt`.
    """
    stem = Path(name).stem
    file = folder() / f"{without_scale(stem)}.yaml"
    if not file.is_file():
        return None
    if "-focalnet" in stem:
        arguments = f"model={stem}.yaml weights=focalnet_tiny_lrf.ms_in1k"
        return Derivation("make it from published weights of FocalNet", arguments)
    # The head of a packaged model's file names the command that has written it.
    command = re.search(r"`yolo-focal derive model=\S+\.yaml([^`]*)`", file.read_text("utf-8"))
    if not command:
        return None
    original = re.sub(r"-\w*focal", "", stem, count=1)
    return Derivation(
        f"weights of focal models are not published. Make them from {original}.pt or a checkpoint of yours",
        f"model={original}.pt{command[1] or ' images=FOLDER'}",
    )


def _shipped() -> dict[str, Path]:
    """Return Ultralytics' own model YAML files by name."""
    spec = importlib.util.find_spec("ultralytics")  # finds the folder without importing it
    folders = spec.submodule_search_locations if spec else None
    return {file.name: file for place in folders or () for file in Path(place, "cfg", "models").rglob("*.yaml")}
