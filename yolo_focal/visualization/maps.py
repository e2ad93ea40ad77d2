"""Computes the modulator, the gates and the contexts of a FocalModulation on one image."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from yolo_focal.focal import FocalModulation


class Maps(NamedTuple):
    """The terms of focal modulation on one image (paper, section 3.2), in float32 on the CPU.

    Attributes:
        modulator: The factor of the query in the focal modulation: the projection h of the gated sum of the contexts,
            `(C, H, W)`.
        gates: The weights of the gated aggregation, `(L + 1, H, W)`: of the L focal levels and, last, of the global
            average. They are linear outputs of either sign.
        contexts: The results of the hierarchical contextualization, `(L + 1, C, H, W)`: of the L focal levels and,
            last, the global average, which is the same at every position.
        receptive_fields: Side of each focal level's receptive field, in positions; L integers.
    """

    modulator: Tensor
    gates: Tensor
    contexts: Tensor
    receptive_fields: list[int]

    @property
    def modulator_norm(self) -> Tensor:
        """Norm of the modulator over the channels, `(H, W)`."""
        return torch.linalg.vector_norm(self.modulator, dim=0)  # type: ignore[no-any-return]

    @property
    def context_norms(self) -> Tensor:
        """Norms of the contexts over the channels, `(L + 1, H, W)`."""
        return torch.linalg.vector_norm(self.contexts, dim=1)  # type: ignore[no-any-return]


@torch.no_grad()
def compute(network: nn.Module, module: FocalModulation, image: Tensor) -> Maps:
    """Run a network up to a FocalModulation and return the maps of that module.

    The network is not changed: it runs in evaluation mode up to the module, and a copy of the module computes the maps.

    Args:
        network: The network, in any mode, on any device, of any floating-point dtype.
        module: The FocalModulation, a submodule of the network.
        image: RGB values from 0 to 1, `(1, 3, height, width)`.
    """
    x = _input(network, module, image).float()
    # In float32 whatever the network's dtype, for maps without its rounding.
    module_copy = copy.deepcopy(module).float()
    outputs: list[Tensor] = []
    for part in (module_copy.proj_in, *module_copy.focal_layers, module_copy.h):  # in the order in which they run
        part.register_forward_hook(lambda *args: outputs.append(args[-1][0].cpu()))
    module_copy(x)
    projection, *contexts, modulator = outputs
    global_context = F.gelu(contexts[-1].mean((1, 2), keepdim=True)).expand_as(contexts[-1])
    fields = [1]
    for level in module.focal_layers:
        fields.append(fields[-1] + level[0].weight.shape[-1] - 1)  # type: ignore[index]
    return Maps(modulator, projection[-len(contexts) - 1 :], torch.stack([*contexts, global_context]), fields[1:])


class _StopForward(Exception):  # noqa: N818  not an error: it ends a forward pass early
    pass


def _input(network: nn.Module, module: nn.Module, image: Tensor) -> Tensor:
    """Run a network up to a module and return the module's input."""
    inputs: list[Tensor] = []

    def record(_: Any, args: tuple[Tensor]) -> None:
        inputs.append(args[0])
        raise _StopForward

    hook = module.register_forward_pre_hook(record)
    try:
        with _evaluation_mode(network), contextlib.suppress(_StopForward):
            network(image.to(next(network.parameters())))
    finally:
        hook.remove()
    return inputs[0]


@contextlib.contextmanager
def _evaluation_mode(network: nn.Module) -> Iterator[None]:
    """Put a network into evaluation mode and restore the mode of each of its modules afterwards."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
