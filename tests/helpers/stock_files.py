"""Ultralytics' own model YAML files, with other modules in their rows, and the layers that they build."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
import ultralytics
import yaml
from torch import nn
from ultralytics.nn import tasks

FILES = {
    file.name: yaml.safe_load(file.read_text("utf-8"))
    for file in sorted((Path(ultralytics.__file__).parent / "cfg" / "models").rglob("*.yaml"))
}


def rows(config: dict[str, Any]) -> list[list[Any]]:
    """Return the rows of a config, of its backbone and its head."""
    return list(config["backbone"] + config["head"])


def build(config: dict[str, Any], scale: str) -> tuple[Any, list[int]]:
    """Build a model without its weights' values."""
    config = {**copy.deepcopy(config), "scale": scale, "yaml_file": "own.yaml"}
    for row in rows(config):
        row[3] = [None if argument == "DEFAULT" else argument for argument in row[3]]  # weights to be downloaded
    with torch.device("meta"):
        layers, save = tasks.parse_model(config, config.get("channels", 3), verbose=False)
    return layers, save


def of(names: dict[str, str], config: dict[str, Any]) -> dict[str, Any]:
    """Return a config with other modules in its rows."""
    config = copy.deepcopy(config)
    for row in rows(config):
        row[2] = names.get(row[2], row[2])
    return config


def shapes(layers: nn.Module) -> dict[str, torch.Size]:
    """Return the shape of every tensor, by its name."""
    return {name: tensor.shape for name, tensor in layers.state_dict().items()}
