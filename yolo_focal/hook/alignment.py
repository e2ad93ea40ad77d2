"""Matches the layers of trained weights with those of a model into which rows were inserted.

Ultralytics loads weights by name, and a name begins with the layer's index: behind an inserted row no name fits, or a
wrong one does. What each layer has taken over is kept, for whoever freezes layers or compares models.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import nn
from torch.nn.parameter import is_lazy

_LEAST = 0.4  # of the weights' tensors must fit: those of another scale fit here and there by chance
_in_every_model = False


class Alignment(NamedTuple):
    """Weights whose layers stand where the layers of the model stand that they are for.

    Attributes:
        weights: The weights' network with its layers in other places.
        moves: A line for each group of layers that were moved, and one for those of the model that start fresh.
        sources: The index in the weights of each layer of the model that has one there.
    """

    weights: nn.Module
    moves: list[str]
    sources: dict[int, int]


class Origin(NamedTuple):
    """Where a layer's tensors are from.

    Attributes:
        source: The index of the weights' layer.
        taken: How many of its tensors are from there.
        tensors: How many it has.
    """

    source: int
    taken: int
    tensors: int


_origins: WeakKeyDictionary[nn.Module, Origin] = WeakKeyDictionary()


def look_in_every_model() -> None:
    """Look for layers in stock models too from now on, so that models that are compared start alike."""
    global _in_every_model
    _in_every_model = True


def looks_in_every_model() -> bool:
    """Return whether `look_in_every_model` has been called."""
    return _in_every_model


def origins(weights: nn.Module, model: nn.Module, found: Alignment | None) -> dict[int, Origin]:
    """Return the origin of each layer of a model that has tensors and a place in the weights.

    Args:
        weights: The network that was trained, with its layers in `weights.model`.
        model: The network that has or is to have the weights.
        found: What `align` says of them.
    """
    theirs, ours = ([_shapes(layer) for layer in network.model] for network in (weights, model))  # type: ignore[union-attr]
    sources = found.sources if found else {index: index for index in range(min(len(theirs), len(ours)))}
    return {j: Origin(i, len(ours[j].items() & theirs[i].items()), len(ours[j])) for j, i in sources.items() if ours[j]}


def note_origins(weights: nn.Module, model: nn.Module, found: Alignment | None) -> None:
    """Keep what `origins` says, for `origin_of`, as long as the layers exist."""
    known = origins(weights, model, found)
    for index, layer in enumerate(model.model):  # type: ignore[arg-type]
        if index in known:
            _origins[layer] = known[index]


def origin_of(layer: nn.Module) -> Origin | None:
    """Return where a layer's tensors are from; None if it starts fresh."""
    return _origins.get(layer)


def align(weights: nn.Module, model: nn.Module) -> Alignment | None:
    """Match the layers so that as many tensors as possible fit by name and shape, without changing their order.

    Args:
        weights: The network that was trained, with its layers in `weights.model`.
        model: The network that is to have the weights, with its layers in `model.model`.

    Returns:
        None if no more tensors fit than without moving any layer, or too few for the network to be of the same kind and
        size.
    """
    sources, targets = (list(network.model) for network in (weights, model))  # type: ignore[arg-type, union-attr]
    theirs, ours = ([_kernels(layer) for layer in layers] for layers in (sources, targets))
    scores = [
        # A little more where they are of one class: what has no tensors is matched by it.
        [
            _fitting(x, y) + (1e-3 if type(source) is type(target) else 0.0)
            for target, y in zip(targets, ours, strict=True)
        ]
        for source, x in zip(sources, theirs, strict=True)
    ]
    pairs = _best_pairs(scores)
    fitting = sum(scores[i][j] for i, j in pairs)
    unmoved = sum(scores[i][i] for i in range(min(len(sources), len(targets))))
    if fitting <= unmoved or fitting < _LEAST * sum(map(len, theirs)):
        return None
    source_of = {j: i for i, j in pairs}
    places = [sources[source_of[j]] if j in source_of else nn.Identity() for j in range(len(targets))]
    if 0 not in {*source_of, *source_of.values()}:  # some releases ask for its first convolution by name, whatever fits
        places[0] = sources[0]
    moved = copy.copy(weights)
    moved._modules = {**weights._modules, "model": nn.Sequential(*places)}
    fresh = [
        f"{j} ({type(target).__name__})"
        for j, target in enumerate(targets)
        if _shapes(target) and not (_shapes(target).items() & _shapes(places[j]).items())
    ]
    return Alignment(moved, [*_moves(pairs), *([f"starting fresh: {', '.join(fresh)}"] if fresh else [])], source_of)


def _fitting(source: set[tuple[str, torch.Size]], target: set[tuple[str, torch.Size]]) -> int:
    """Return how many tensors two layers have in common; 0 if it is less than half of them: that is chance."""
    common = len(source & target)
    return common if 2 * common >= max(len(source), len(target)) else 0


def _kernels(layer: nn.Module) -> set[tuple[str, torch.Size]]:
    """Return names and shapes of a layer's tensors of two dimensions or more.

    A BatchNorm's have one, and fit wherever the number of channels is the same.
    """
    return {(name, shape) for name, shape in _shapes(layer).items() if len(shape) > 1}


def _shapes(layer: nn.Module) -> dict[str, torch.Size]:
    tensors = {name: tensor for name, tensor in layer.state_dict().items() if isinstance(tensor, torch.Tensor)}
    return {name: tensor.shape for name, tensor in tensors.items() if not is_lazy(tensor)}


def _best_pairs(scores: Sequence[Sequence[float]]) -> list[tuple[int, int]]:
    """Return the pairs, in order, whose scores have the largest sum; of equal sums, one that pairs the last layers."""
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
        if first == to:
            continue
        if first == last:
            yield f"layer {first} of the weights goes to layer {to}"
        else:
            yield f"layers {first} to {last} of the weights go to layers {to} to {end}"
