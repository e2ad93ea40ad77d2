"""Replaces a module of a trained network, or inserts one; every other layer keeps its trained weights."""

from __future__ import annotations

import copy
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from yolo_focal.focal import FocalModulation
from yolo_focal.hook import configs
from yolo_focal.twin import attention, layers
from yolo_focal.twin.config import FOCAL, parsed_twin
from yolo_focal.twin.rows import Positions

FITTED = FOCAL, attention.C2FOCAL  # what can be fitted to a layer that it replaces
_TOLERANCE = 1e-6  # of the largest value, within which two layers compute the same


class Graft(NamedTuple):
    """A network in which a module was replaced or inserted.

    Attributes:
        model: The network.
        layers: Index of each layer that can be fitted -> its FocalModulation, or several in an `nn.Sequential`, or its
            C2Focal or C3k2Focal.
        changes: A line for each row that differs from the original's.
        weights: A line for each new layer that says what it computes before it is trained; none for a FocalModulation
            that replaces another layer, which must be fitted.
    """

    model: nn.Module
    layers: dict[int, nn.Module]
    changes: list[str]
    weights: list[str]


def graft(
    original: Any,
    file: str,
    replace: str = "SPPF",
    after: str = "",
    module: str = FOCAL,
) -> Graft:
    """Make the twin of a network.

    A FocalModulation that is inserted starts as the identity. In a classifier without a `replace` row the module is
    inserted before the head.

    Args:
        original: An Ultralytics network that was built from a model YAML, in evaluation mode; it is not changed.
        file: Its checkpoint's name, for messages.
        replace: The module to replace, as the rows name it, or a row's index.
        after: The module to insert another behind, or a row's index; empty to replace.
        module: The module that replaces another or is inserted.

    Returns:
        The twin. A new layer has its constructor's weights, apart from an inserted FocalModulation; one that has all
        tensors of the layer that it replaces, by name and shape, takes those over, and a C3k2 without attention all
        that it has.

    Raises:
        ConfigError: There is nothing to replace or to insert behind, or a module does not keep its input's shape.
    """
    config, positions, changes = parsed_twin(original.yaml, file, replace, after, module)
    layers.check_shapes(original, positions.replaced, layers.old(file, replace, module))
    layers.check_new(config, positions.new, file, module)
    channels = configs.input_channels(config)
    untrained = type(original)(config, ch=channels, verbose=False).to(next(original.parameters()).device).eval()

    twin = copy.deepcopy(original)
    twin.yaml, twin.save = config, untrained.save
    replaced = [*positions.replaced, *positions.attention]
    kept = iter([layer for index, layer in enumerate(twin.model) if index not in replaced])
    grafted = [fresh if index in positions.new else next(kept) for index, fresh in enumerate(untrained.model)]
    for layer, fresh in zip(grafted, untrained.model, strict=True):
        layer.i, layer.f = fresh.i, fresh.f
    twin.model = nn.Sequential(*grafted)
    fitted = {index: grafted[index] for index in replaced} if module in FITTED else {}
    if module == FOCAL and fitted:
        return Graft(twin.eval(), fitted, changes, [])

    taken = {index: _take_over(grafted[index], original.model[index]) for index in positions.replaced}
    for index in positions.attention:
        keep_all_but_attention(grafted[index], original.model[index])
        taken[index] = "takes over all but the attention"
    for index in set(positions.new) - taken.keys() if module == FOCAL else ():
        pass_through(grafted[index])
    weights = _compare(twin.eval(), original, positions, taken) if module != FOCAL or after else []
    return Graft(twin, fitted, changes, weights)


@torch.no_grad()
def keep_all_but_attention(new: Any, old: Any) -> None:
    """Copy to a layer that replaces one with attention what means the same in both.

    To a C3k2Focal everything but the norm and FocalModulation; to a C2Focal in C2PSA's place the convolution that
    splits the channels and the feed-forward networks; in another layer's place nothing.
    """
    pairs: list[tuple[nn.Module, nn.Module]] = []
    if type(old).__name__ == attention.C2PSA:
        pairs = [(new.split, old.cv1), *((block.ffn, own.ffn) for block, own in zip(new.blocks, old.m, strict=True))]
    elif type(old).__name__ == attention.C3K2:
        pairs = [(new, old)]
    for to, source in pairs:
        places = to.state_dict()
        for name, tensor in source.state_dict().items():
            if name in places and places[name].shape == tensor.shape:
                places[name].copy_(tensor)


def _take_over(new: nn.Module, old: nn.Module) -> str:
    """Copy a layer's tensors to the one that replaces it, if that has all of them, by name and shape; say so."""
    tensors, places = old.state_dict(), new.state_dict()
    fits = all(key in places and places[key].shape == value.shape for key, value in tensors.items())
    if tensors and fits:
        new.load_state_dict(tensors, strict=False)
    return "takes over the old layer's weights" if tensors and fits else "starts fresh"


def _compare(twin: Any, original: Any, positions: Positions, taken: dict[int, str]) -> list[str]:
    """Return a line for each new layer: whether it has weights, and computes what was computed without it.

    Args:
        twin: The twin.
        original: The original.
        positions: The new layers.
        taken: Index of a replacing layer -> how it starts.
    """
    lines: list[str] = []

    def compare(layer: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        is_replaced = layer.i in taken
        with torch.no_grad():
            expected = original.model[layer.i](inputs[0]) if is_replaced else inputs[0]
        is_same = bool((output - expected).abs().max() <= _TOLERANCE * expected.abs().max())
        start = taken.get(layer.i, "starts fresh")
        if is_replaced:
            computes = "computes the same as the old layer" if is_same else "computes something else than the old layer"
        else:
            computes = "is the identity" if is_same else "is not the identity"
        end = "computes what the original does" if is_same else "must be trained before it is used"
        lines.append(f"row {layer.i} {start} and {computes}, so the twin {end}")

    channels = configs.input_channels(twin.yaml)
    parameter = next(twin.parameters())
    image = torch.rand(1, channels, layers.SIDE, layers.SIDE, generator=torch.Generator().manual_seed(0)).to(parameter)
    layers.observe(twin, positions.new, [image], compare)
    kept = len(twin.model) - len(positions.new)
    return [f"{kept} of {len(twin.model)} layers keep their weights", *lines]


@torch.no_grad()
def pass_through(module: FocalModulation) -> FocalModulation:
    """Set a module's weights to the identity: the query is the input, the modulator 1, the output projection identity.

    Args:
        module: The module, with biases and without a LayerNorm; changed in place.

    Returns:
        The module.
    """
    dim = module.dim
    identity = torch.eye(dim)[:, :, None, None]
    module.proj_in.weight[:dim] = identity
    module.proj_in.bias[:dim] = 0  # type: ignore[index]
    module.h.weight.zero_()
    module.h.bias.fill_(1)  # type: ignore[union-attr]
    module.proj.weight.copy_(identity)
    module.proj.bias.zero_()  # type: ignore[union-attr]
    return module
