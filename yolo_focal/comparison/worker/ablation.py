"""Replaces the outputs of layers of a trained network, to see what they are good for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from yolo_focal.comparison.store.run_folder import INPUT


class CannotReplaceError(Exception):
    """The output of a layer is none that can be replaced."""


def replace_outputs(layers: Sequence[nn.Module], by: str) -> None:
    """Replace the outputs of layers from now on.

    The layers compute all the same, through hooks, which stay where a network is copied or its layers are fused.

    Args:
        layers: The layers.
        by: `INPUT`, or zeros.
    """
    for layer in layers:
        if by == INPUT:
            _pass_on(layer)
        else:
            layer.register_forward_hook(_zeros)


def _zeros(_: nn.Module, __: Any, output: Any) -> torch.Tensor:
    if not isinstance(output, torch.Tensor):
        raise CannotReplaceError
    return torch.zeros_like(output)


def _pass_on(layer: nn.Module) -> None:
    """Let a layer hand on what it is given, as it was before the layer's own operations in place."""
    given: list[Any] = []

    def keep(_: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        given[:] = inputs[:1]
        return (inputs[0].clone() if isinstance(inputs[0], torch.Tensor) else inputs[0], *inputs[1:])

    def hand_on(_: nn.Module, __: Any, output: Any) -> torch.Tensor:
        first = given.pop()
        tensors = isinstance(first, torch.Tensor) and isinstance(output, torch.Tensor)
        if not tensors or first.shape != output.shape:
            raise CannotReplaceError
        passed: torch.Tensor = first
        return passed

    layer.register_forward_pre_hook(keep)
    layer.register_forward_hook(hand_on)
