"""Puts another model of timm into the Timm row of a model YAML."""

from __future__ import annotations

from pathlib import Path

from yolo_focal.errors import ConfigError
from yolo_focal.hook import configs
from yolo_focal.twin import config, edit

MODULE = "Timm"


def derive_backbone(model: str, backbone: str, save: str) -> None:
    """Write a model YAML with another model of timm, and print what has changed and how to train it.

    Args:
        model: The model YAML with a Timm row, such as `yolov8s-timm.yaml`.
        backbone: timm's name of the model.
        save: Where to write it; "" for a name with the backbone's in it.

    Raises:
        ConfigError: There is no Timm row, timm's model does not suit, or there is another file of that name.
    """
    original = configs.model(model)
    text = config.read(original)
    parsed = config.parse(text, model)
    edit.check(text, model)
    rows = [*parsed["backbone"], *parsed["head"]]
    index = next((index for index, row in enumerate(rows) if row[2] == MODULE), None)
    if index is None:
        raise ConfigError(f"{model}: no row names {MODULE}; write model= with one that does, such as yolov8s-timm.yaml")

    from yolo_focal.backbones.timm import feature_maps  # imported only when needed: it imports torch and timm

    maps = feature_maps(backbone)
    pretrained = rows[index][3][1:]
    arguments = str([backbone, *pretrained]).replace("'", "")
    path = Path(save or original.name.replace("timm", backbone.replace(".", "-")))
    written = config.save(edit.replace(text, {index: (MODULE, arguments)}), path)
    print(f"row {index}: {MODULE}, {rows[index][3]} -> {MODULE}, {arguments}")
    print("its maps: " + ", ".join(f"stride {map_.stride}, {map_.channels} channels" for map_ in maps))
    print(f"{path}: {'written' if written else 'is there already, the same'}")
    print(config.training_command(path, model, parsed.get("scales") or ()))
