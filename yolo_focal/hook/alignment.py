"""Matches the layers of trained weights with those of a model into which rows were inserted.

Ultralytics loads weights by name, and a name begins with the layer's index: behind an inserted row no name fits, or a
wrong one does.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import nn


class Alignment(NamedTuple):
    """Weights whose layers stand where the layers of the model stand that they are for.

    Attributes:
        weights: The weights' network with its layers in other places.
        moves: A line for each group of layers that were moved, and one for those of the model that start fresh.
    """

    weights: nn.Module
    moves: list[str]


def align(weights: nn.Module, model: nn.Module) -> Alignment | None:
    """Match the layers so that as many tensors as possible fit by name and shape, without changing their order.

    Args:
        weights: The network that was trained, with its layers in `weights.model`.
        model: The network that is to have the weights, with its layers in `model.model`.

    Returns:
        None if no more tensors fit than without moving any layer.
    """
    sources, targets = (list(network.model) for network in (weights, model))  # type: ignore[arg-type, union-attr]
    scores = _scores(sources, targets)
    pairs = _best_pairs(scores)
    if sum(scores[i][j] for i, j in pairs) <= sum(scores[i][i] for i in range(min(len(sources), len(targets)))):
        return None
    source_of = {j: i for i, j in pairs}
    moved = copy.copy(weights)
    moved._modules = dict(weights._modules)
    places = [sources[source_of[j]] if j in source_of else nn.Identity() for j in range(len(targets))]
    moved.model = nn.Sequential(*places)
    fresh = [
        f"{j} ({type(target).__name__})"
        for j, target in enumerate(targets)
        if target.state_dict() and (j not in source_of or scores[source_of[j]][j] < 1)
    ]
    return Alignment(moved, [*_moves(pairs), *([f"starting fresh: {', '.join(fresh)}"] if fresh else [])])


def _scores(sources: Sequence[nn.Module], targets: Sequence[nn.Module]) -> list[list[float]]:
    """Return how many tensors fit for each pair of layers, and a little more where they are of one class."""
    shapes = [[_shapes(layer) for layer in layers] for layers in (sources, targets)]
    return [
        [
            len(source.items() & target.items()) + (1e-3 if type(sources[i]) is type(targets[j]) else 0.0)
            for j, target in enumerate(shapes[1])
        ]
        for i, source in enumerate(shapes[0])
    ]


def _shapes(layer: nn.Module) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in layer.state_dict().items()}


def _best_pairs(scores: Sequence[Sequence[float]]) -> list[tuple[int, int]]:
    """Return the pairs, in order, whose scores have the largest sum; of equal sums the one without gaps at the end."""
    rows, columns = len(scores), len(scores[0]) if scores else 0
    best = [[0.0] * (columns + 1) for _ in range(rows + 1)]  # of the first i sources and the first j targets
    for i in range(1, rows + 1):
        for j in range(1, columns + 1):
            best[i][j] = max(best[i - 1][j], best[i][j - 1], best[i - 1][j - 1] + scores[i - 1][j - 1])
    pairs, i, j = [], rows, columns
    while i and j:
        if scores[i - 1][j - 1] and best[i][j] == best[i - 1][j - 1] + scores[i - 1][j - 1]:
            pairs.append((i - 1, j - 1))
            i, j = i - 1, j - 1
        elif best[i][j] == best[i - 1][j]:
            i -= 1
        else:
            j -= 1
    return pairs[::-1]


def _moves(pairs: Sequence[tuple[int, int]]) -> Iterator[str]:
    """Yield a line for each group of neighbouring layers that were moved together."""
    groups: list[list[tuple[int, int]]] = []
    for pair in pairs:
        if groups and pair[1] - pair[0] == groups[-1][-1][1] - groups[-1][-1][0]:
            groups[-1].append(pair)
        else:
            groups.append([pair])
    for group in groups:
        (first, to), (last, end) = group[0], group[-1]
        if first != to:
            yield f"layers {first} to {last} of the weights go to layers {to} to {end}"
