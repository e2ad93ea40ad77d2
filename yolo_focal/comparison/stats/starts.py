"""What models start from: how many tensors of each layer are from weights, so that their starts can be compared."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import NamedTuple

from torch import nn

from yolo_focal.hook import alignment

Layers = Mapping[str, "list[int]"]


class Start(NamedTuple):
    """Tensors of the layers that two models have in common.

    Attributes:
        tensors: How many there are.
        first: How many of them the first model has taken over from weights.
        other: How many the other one has.
    """

    tensors: int
    first: int
    other: int


def of(network: nn.Module) -> dict[str, list[int]]:
    """Return the layers of a network that was built, by a digest of names and shapes of their tensors.

    Returns:
        For each digest, which begins with the number of the layer's tensors, how many of them each such layer has taken
        over, the most first.
    """
    taken: dict[str, list[int]] = {}
    for layer in network.modules():
        tensors = layer.state_dict()
        if not hasattr(layer, "i") or not tensors:  # Ultralytics' parser numbers the layers
            continue
        shapes = sorted((name, tuple(tensor.shape)) for name, tensor in tensors.items())
        origin = alignment.origin_of(layer)
        key = f"{len(tensors)}-{zlib.crc32(repr(shapes).encode()):08x}"
        taken.setdefault(key, []).append(origin.taken if origin else 0)
    return {key: sorted(counts, reverse=True) for key, counts in taken.items()}


def difference(first: Layers, other: Layers) -> Start | None:
    """Return what two models have taken over for the layers that both have; None if it is as much."""
    tensors, taken = 0, [0, 0]
    for key in first.keys() & other.keys():
        both = min(len(first[key]), len(other[key]))
        tensors += both * int(key.partition("-")[0])
        taken = [sum_ + sum(layers[key][:both]) for sum_, layers in zip(taken, (first, other), strict=True)]
    return None if taken[0] == taken[1] else Start(tensors, *taken)
