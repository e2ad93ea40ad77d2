"""Finds model and data YAML files: the packaged ones, and Ultralytics' own."""

from __future__ import annotations

import difflib
import importlib.util
import re
from pathlib import Path

from yolo_focal.errors import ConfigError

_PACKAGE = Path(__file__).resolve().parent


def folder() -> Path:
    """Return the folder of the packaged configs: `cfg/` of the checkout, or the copy inside an installed wheel."""
    checkout = _PACKAGE.parent / "cfg"
    # The checkout's own folder comes first: an editable install also copies it, and that copy goes stale.
    return checkout if (_PACKAGE.parent / "pyproject.toml").is_file() else _PACKAGE / "cfg"


def without_scale(name: str) -> str:
    """Return a config's file name without its scale letter: `yolov8n-focal.yaml` becomes `yolov8-focal.yaml`."""
    return re.sub(r"(\d+)[nslmx]", r"\1", name, count=1)


def find(path: str | Path) -> Path | None:
    """Find the config that a path means where there is no file of that very name.

    Looked for in this order: the same folder without the scale letter, then, for a bare name or one below `cfg/`, the
    packaged configs with and without it.

    Args:
        path: What the user wrote, such as `yolov8n-focal.yaml` or `/data/run2n/cfg/yolov8n-focal.yaml`.

    Returns:
        The file, or None where `path` itself exists or nothing fits.
    """
    path = Path(path)
    if path.suffix not in {".yaml", ".yml"} or path.exists():
        return None
    candidates = [path.with_name(without_scale(path.name))]
    if path.parent in {Path(), Path("cfg")}:
        candidates += [folder() / path.name, folder() / without_scale(path.name)]
    return next((c for c in candidates if c.is_file()), None)


def model(name: str) -> Path:
    """Find the model YAML that a name means: a file, a packaged config, or one that Ultralytics ships.

    Args:
        name: A path or a bare name, with a scale letter or without, such as `yolo11n-seg.yaml`.

    Raises:
        ConfigError: There is no such file; the message says which names come close.
    """
    path = Path(name)
    if path.is_file():
        return path
    packaged = find(name)
    if packaged is not None:
        return packaged
    spec = importlib.util.find_spec("ultralytics")  # finds the folder without importing it
    places = spec.submodule_search_locations if spec else None
    shipped = {file.name: file for place in places or () for file in Path(place, "cfg", "models").rglob("*.yaml")}
    for candidate in (name, without_scale(name)):
        if candidate in shipped:
            return shipped[candidate]
    close = difflib.get_close_matches(without_scale(path.name), shipped, n=3)
    wanted = f"did you mean {', '.join(close)}?" if close else "write a path, or a name such as yolo11n-seg.yaml"
    raise ConfigError(f"model={name}: there is no such model YAML; {wanted}")
