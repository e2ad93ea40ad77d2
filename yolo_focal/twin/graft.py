"""Puts FocalModulation into a trained network in the place of another module; everything else stays as trained."""

from __future__ import annotations

import copy
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from yolo_focal import derive
from yolo_focal.errors import ConfigError
from yolo_focal.focal import FocalModulation


class Graft(NamedTuple):
    """A network with FocalModulation in it.

    Attributes:
        model: The network.
        layers: Index of each layer that is to do what another did -> its FocalModulation modules, one after another.
        changes: A line for each row that is not the original's.
    """

    model: nn.Module
    layers: dict[int, nn.Module]
    changes: list[str]


def graft(original: Any, file: str, replace: str = "SPPF") -> Graft:
    """Make the focal twin of a network.

    A classifier without a `replace` row gets FocalModulation in front of its head instead, where it hands on what it
    gets until it is trained.

    Args:
        original: A network of Ultralytics' that was built from a model YAML; it stays as it is.
        file: Its checkpoint's name, for messages.
        replace: The module to replace, as the rows name it.

    Returns:
        The twin. What it replaces is untrained; the inserted layer passes everything through.

    Raises:
        ConfigError: There is nothing to replace, or the module changes its input's shape, which FocalModulation keeps.
    """
    config, places, changes = derive.parsed_twin(original.yaml, file, replace)
    _check_shapes(original, places.replaced, file, replace)
    channels = config.get("channels", config.get("ch", 3))
    built = type(original)(config, ch=channels, verbose=False).to(next(original.parameters()).device)

    twin = copy.deepcopy(original)
    twin.yaml = config
    layers = list(twin.model)
    for index in places.replaced:
        layers[index] = built.model[index]
    if places.inserted is not None:
        layers.insert(places.inserted, pass_through(built.model[places.inserted]))
        layers[-1].i = built.model[-1].i
    twin.model = nn.Sequential(*layers)
    return Graft(twin.eval(), {index: layers[index] for index in places.replaced}, changes)


@torch.no_grad()
def pass_through(module: FocalModulation) -> FocalModulation:
    """Make a module hand on its input exactly: the query is the input, the modulator 1, the projection the identity."""
    dim = module.dim
    identity = torch.eye(dim)[:, :, None, None]
    module.proj_in.weight[:dim] = identity
    module.proj_in.bias[:dim] = 0  # type: ignore[index]
    module.h.weight.zero_()
    module.h.bias.fill_(1)  # type: ignore[union-attr]
    module.proj.weight.copy_(identity)
    module.proj.bias.zero_()  # type: ignore[union-attr]
    return module


def _check_shapes(original: Any, indices: list[int], file: str, replace: str) -> None:
    def check(layer: Any, inputs: tuple[Any, ...], output: Any) -> None:
        before, after = (tuple(x.shape[1:]) if isinstance(x, Tensor) else None for x in (inputs[0], output))
        if before is None or before != after:
            raise ConfigError(
                f"{file}, row {layer.i}: {replace} makes {_shape(output)} of {_shape(inputs[0])}, and FocalModulation "
                "keeps the shape of one map; write replace= with a module that does"
            )

    hooks = [original.model[index].register_forward_hook(check) for index in indices]
    try:
        side = 2 * int(max(original.stride))
        with torch.no_grad():
            like = next(original.parameters())
            original(torch.zeros(1, original.yaml.get("channels", original.yaml.get("ch", 3)), side, side).to(like))
    finally:
        for hook in hooks:
            hook.remove()


def _shape(value: Any) -> str:
    return "x".join(map(str, value.shape[1:])) if isinstance(value, Tensor) else f"{len(value)} maps"
