"""Initial weights that depend on a seed and the layer's index alone, not on the layers before it."""

from __future__ import annotations

import torch

_seed: int | None = None


def seed_layers(seed: int | None) -> None:
    """Seed each layer that Ultralytics' parser builds from now on by a seed and its index.

    Models that have a layer in common then start with the same weights in it.

    Args:
        seed: The seed; None for PyTorch's usual order.
    """
    global _seed
    _seed = seed


def apply(index: int) -> None:
    """Seed PyTorch's generators for the layer with an index; has no effect without a seed."""
    if _seed is not None:
        torch.manual_seed(_seed * 1_000_003 + index)
