"""Finds the packaged model and data YAML files."""

from __future__ import annotations

import re
from pathlib import Path

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
