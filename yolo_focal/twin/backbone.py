"""Puts another model of timm into the Timm row of a model YAML."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from yolo_focal.backbones.timm import feature_maps
from yolo_focal.errors import ConfigError
from yolo_focal.twin import config, edit

MODULE = "Timm"


class Derived(NamedTuple):
    """A model config with another backbone.

    Attributes:
        text: The YAML text.
        original: The parsed YAML of the original.
        changes: Lines on what has changed.
        names: timm's names of the old model and the new one.
    """

    text: str
    original: dict[str, Any]
    changes: list[str]
    names: tuple[str, str]

    def name_of(self, file: str) -> str:
        """Return what to call the file: `timm` or the old model in its name are replaced, or else the new is added."""
        old, new = (name.replace(".", "-") for name in self.names)
        stem, suffix = Path(file).stem, Path(file).suffix
        part = next((part for part in ("timm", old) if part in stem), None)
        return file.replace(part, new) if part else f"{stem}-{new}{suffix}"


def replace(text: str, file: str, backbone: str) -> Derived:
    """Replace the model of timm in a model YAML; every other character stays as it is.

    Args:
        text: The model YAML.
        file: Its name, for messages.
        backbone: timm's name of the new model.

    Raises:
        ConfigError: There is no Timm row, its text cannot be edited, or timm's model does not suit.
    """
    original = config.parse(text, file)
    edit.check(text, file)
    rows = [*original["backbone"], *original["head"]]
    index = next((index for index, row in enumerate(rows) if row[2] == MODULE), None)
    if index is None:
        raise ConfigError(f"{file}: no row names {MODULE}; write model= with one that does, such as yolov8s-timm.yaml")
    maps = feature_maps(backbone)
    old = rows[index][3]
    arguments = str([backbone, *old[1:]]).replace("'", "")
    changes = [
        f"row {index}: {MODULE}, {old} -> {MODULE}, {arguments}",
        "its maps: " + ", ".join(f"stride {map_.stride} ({map_.channels} channels)" for map_ in maps),
    ]
    names = (str(old[0]) if old else MODULE, backbone)
    return Derived(edit.replace(text, {index: (MODULE, arguments)}), original, changes, names)
