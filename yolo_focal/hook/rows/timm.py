"""What a checkpoint's rows say of timm's weights."""

from __future__ import annotations

from typing import Any


def start_from_checkpoint(network: Any) -> None:
    """Let the Timm rows of a network's YAML start from no weights of timm's: they are the checkpoint's.

    A training goes on from a checkpoint by building the network from its YAML, and would download them, for nothing.

    Args:
        network: A loaded model; None and what has no YAML stay as they are.
    """
    config = getattr(network, "yaml", None)
    rows = [*config["backbone"], *config["head"]] if isinstance(config, dict) else []
    for row in rows:
        if row[2] == "Timm":
            row[3] = [row[3][0], False]
