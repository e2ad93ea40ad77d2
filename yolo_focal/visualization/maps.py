"""What a FocalModulation computes on one picture, before its output: the modulator, the gates and the contexts."""

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
    """The terms of focal modulation on one picture (paper section 3.2), in float32 on the CPU.

    The levels are the L focal levels and, last, the global average.

    Attributes:
        modulator: What the query is multiplied with (equation 4): the projection h of the gated sum of the contexts
            (equation 6), `(C, H, W)`.
        gates: The weight of each level at each position (equation 6): linear outputs, of either sign,
            `(L + 1, H, W)`.
        contexts: What each level gathers around each position (equation 5), `(L + 1, C, H, W)`; the global one is the
            same everywhere.
        fields: How many positions, along a side, a value of each focal level is gathered from, L numbers.
    """

    modulator: Tensor
    gates: Tensor
    contexts: Tensor
    fields: list[int]

    @property
    def modulator_norm(self) -> Tensor:
        """The modulator's norm over the channels, `(H, W)`."""
        return torch.linalg.vector_norm(self.modulator, dim=0)  # type: ignore[no-any-return]

    @property
    def context_norms(self) -> Tensor:
        """The contexts' norms over the channels, `(L + 1, H, W)`."""
        return torch.linalg.vector_norm(self.contexts, dim=1)  # type: ignore[no-any-return]


@torch.no_grad()
def compute(network: nn.Module, module: FocalModulation, image: Tensor) -> Maps:
    """Run a network up to one of its modules and return what the module computes there.

    The network is left as it was: it runs in evaluation mode and no further than the module, whose terms are then
    computed by a copy.

    Args:
        network: The network, in any mode, on any device, of any floating-point type.
        module: One of its modules.
        image: RGB values from 0 to 1, `(1, 3, height, width)`.
    """
    x = _input(network, module, image).float()
    # In float32, because in float16 the module calls no hook on `h`. On plain hooks the CPU runs the plain equations.
    twin = copy.deepcopy(module).float()
    outputs: list[Tensor] = []
    for part in (twin.proj_in, *twin.focal_layers, twin.h):  # in the order in which they run
        part.register_forward_hook(lambda *args: outputs.append(args[-1][0].cpu()))
    twin(x)
    projection, *contexts, modulator = outputs
    everywhere = F.gelu(contexts[-1].mean((1, 2), keepdim=True)).expand_as(contexts[-1])
    fields = [1]
    for level in module.focal_layers:
        fields.append(fields[-1] + level[0].weight.shape[-1] - 1)  # type: ignore[index]
    return Maps(modulator, projection[2 * module.dim :], torch.stack([*contexts, everywhere]), fields[1:])


class _Enough(Exception):  # noqa: N818  not an error: it ends a forward pass early
    pass


def _input(network: nn.Module, module: nn.Module, image: Tensor) -> Tensor:
    inputs: list[Tensor] = []

    def keep(_: Any, args: tuple[Tensor]) -> None:
        inputs.append(args[0])
        raise _Enough

    hook = module.register_forward_pre_hook(keep)
    try:
        with _evaluating(network), contextlib.suppress(_Enough):
            network(image.to(next(network.parameters())))
    finally:
        hook.remove()
    return inputs[0]


@contextlib.contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    """Put a network into evaluation mode, and each of its modules back into its own mode afterwards."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
