"""What `freeze=` of `yolo train` means for a model whose layers do not stand where those of its weights stand.

Ultralytics freezes layers by their index. A layer that starts fresh would stay random, and behind an inserted row the
first ten layers are others than those of the stock model.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any

from torch import nn
from ultralytics.utils import RANK
from ultralytics.utils.callbacks.base import default_callbacks

from yolo_focal.hook import alignment
from yolo_focal.hook.alignment import Origin

_of_trainers = default_callbacks["on_pretrain_routine_end"]  # what Ultralytics gives each trainer to call then


def add() -> None:
    """Let every trainer warn from now on, in this process."""
    if warn not in _of_trainers:
        _of_trainers.append(warn)


def remove() -> None:
    """Undo `add`."""
    if warn in _of_trainers:
        _of_trainers.remove(warn)


def same_layers(freeze: int, weights: nn.Module, model: nn.Module) -> int | list[int]:
    """Return the `freeze` that freezes in a model what the first layers of other weights are, fresh layers excepted.

    Args:
        freeze: The number of the weights' layers.
        weights: The network with the weights.
        model: The network that is to be trained.
    """
    found = alignment.origins(weights, model, alignment.align(weights, model))
    return _shortest(_whole(found, freeze), model.model, freeze)  # type: ignore[arg-type]


def warn(trainer: Any) -> None:
    """Warn of frozen layers that start fresh, and say what to write; a callback of Ultralytics' trainer."""
    layers = [layer for layer in trainer.model.modules() if isinstance(getattr(layer, "i", None), int)]
    known = {layer.i: origin for layer in layers if (origin := alignment.origin_of(layer)) is not None}
    frozen = {layer.i: layer for layer in layers if all(not p.requires_grad for p in layer.parameters())}
    fresh = {i: layer for i, layer in frozen.items() if [*layer.parameters()] and i not in _whole(known)}
    if RANK > 0 or not known or not fresh:
        return
    given = trainer.args.freeze
    kept = _whole(known, given) if isinstance(given, int) else [i for i in given if i not in fresh]
    value = str(_shortest(kept, layers, 0)).replace(" ", "")
    names = ", ".join(f"{i} ({type(layer).__name__})" for i, layer in fresh.items())
    logging.getLogger("ultralytics").warning(
        f"yolo-focal: freeze={str(given).replace(' ', '')} freezes layers that the weights do not have, or not as a "
        f"whole: {names}. They would stay as random as they are: {f'write freeze={value}' if kept else 'leave it out'}"
    )


def _whole(known: Mapping[int, Origin], below: float = float("inf")) -> list[int]:
    """Return the layers that have all their tensors from the weights' layers below an index."""
    return [index for index, origin in known.items() if origin.taken == origin.tensors and origin.source < below]


def _shortest(indices: list[int], layers: Iterable[nn.Module], number: int) -> int | list[int]:
    """Return layers as `freeze` takes them: a number, if they are all of so many first ones that have parameters.

    Args:
        indices: The layers.
        layers: All layers of the model.
        number: The number to return if it freezes these and no others, as smaller ones may.
    """
    with_parameters = [index for index, layer in enumerate(layers) if [*layer.parameters()]]
    for first in (number, max(indices, default=-1) + 1):
        if indices == [index for index in with_parameters if index < first]:
            return first
    return indices
