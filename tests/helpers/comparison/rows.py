"""The rows of models."""

from __future__ import annotations

from typing import Any

import yaml

from yolo_focal.hook import configs


def rows_of(name: str) -> list[Any]:
    """Return the rows of a model YAML that is found by its name."""
    config = yaml.safe_load(configs.model(name).read_text(encoding="utf-8"))
    return [*config["backbone"], *config["head"]]
