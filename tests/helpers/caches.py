"""The hub's cache of weights, as a download leaves it."""

from __future__ import annotations

import json
from pathlib import Path

import timm
from safetensors.torch import save_file
from torch import nn


def put_in_cache(folder: Path, name: str, network: nn.Module) -> None:
    """Write the weights of a timm model to a folder as the hub's cache has them."""
    config = timm.get_pretrained_cfg(name)
    model = folder / f"models--{config.hf_hub_id.replace('/', '--')}"
    (model / "refs").mkdir(parents=True)
    (model / "refs" / "main").write_text("0")
    (model / "snapshots" / "0").mkdir(parents=True)
    save_file(network.state_dict(), model / "snapshots" / "0" / "model.safetensors")
    (model / "snapshots" / "0" / "config.json").write_text(json.dumps({"architecture": name}))
