"""Published FocalNet weights for FocalEmbed and FocalStage: the names and shapes of other implementations' state dicts.

Those of the paper's code, timm and Hugging Face transformers are read. Here their parts are called `embed.<stage>`,
`stage.<stage>.blocks.<block>`, `norm` and `head`, with the names of this package's modules behind them. Where a model
has larger windows than the weights, their kernels are filled up with zeros around, which changes nothing. Where it has
more focal levels, the new levels' gates are zeros; the global context is then that of the last new level, so that the
features are near the old ones and not equal.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from yolo_focal.focal.focalnet import FocalEmbed, FocalStage
from yolo_focal.focal.modulation import rename_foreign_keys

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class _Source(NamedTuple):
    """Another implementation's names.

    Attributes:
        name: What messages call it.
        key: A pattern that only its state dicts have a key of.
        names: Patterns of its keys, with what they become. Where a downsampling stands at the end of the stage before,
            `+1` behind the stage's number says so.
    """

    name: str
    key: str
    names: tuple[tuple[str, str], ...]


_SOURCES = (
    _Source(
        "timm",
        r"stem\.proj\.weight",
        (
            (r"stem\.", "embed.0."),
            (r"layers\.(\d+)\.downsample\.", r"embed.\1."),
            (r"layers\.(\d+)\.blocks\.", r"stage.\1.blocks."),
            (r"norm\.", "norm."),
            (r"head\.fc\.", "head."),
        ),
    ),
    _Source(
        "the paper's code",
        r"patch_embed\.proj\.weight",
        (
            (r"patch_embed\.", "embed.0."),
            (r"layers\.(\d+)\.downsample\.", r"embed.\1+1."),
            (r"layers\.(\d+)\.blocks\.", r"stage.\1.blocks."),
            (r"norm\.", "norm."),
            (r"head\.", "head."),
        ),
    ),
    _Source(
        "transformers",
        r"(?:focalnet\.)?embeddings\.patch_embeddings\.projection\.weight",
        (
            (r"(?:focalnet\.)?embeddings\.patch_embeddings\.projection\.", "embed.0.proj."),
            (r"(?:focalnet\.)?embeddings\.norm\.", "embed.0.norm."),
            (r"(?:focalnet\.)?encoder\.stages\.(\d+)\.downsample\.projection\.", r"embed.\1+1.proj."),
            (r"(?:focalnet\.)?encoder\.stages\.(\d+)\.downsample\.norm\.", r"embed.\1+1.norm."),
            (r"(?:focalnet\.)?encoder\.stages\.(\d+)\.layers\.", r"stage.\1.blocks."),
            (r"(?:focalnet\.)?layernorm\.", "norm."),
            (r"classifier\.", "head."),
        ),
    ),
)
_INSIDE_BLOCKS = ((r"\.gamma_([12])$", r".ls\1.gamma"), (r"\.norm([12])_post\.", r".norm\1."))


class Weights(NamedTuple):
    """A FocalNet's weights.

    Attributes:
        source: The implementation that they come from.
        tensors: The weights, by the names that this file's head describes.
        unknown: Keys that no part of a FocalNet has.
        postln: Whether the norms stand behind FocalModulation and the MLP; None where the names do not say it.
    """

    source: str
    tensors: dict[str, Tensor]
    unknown: list[str]
    postln: bool | None


def translate(state: Mapping[str, Tensor]) -> Weights:
    """Translate another implementation's state dict.

    Args:
        state: The state dict; it is not changed.

    Raises:
        ValueError: It is not that of a FocalNet.
    """
    source = next((s for s in _SOURCES if any(re.fullmatch(s.key, key) for key in state)), None)
    if source is None:
        first = ", ".join(list(state)[:3])
        raise ValueError(
            f"its keys ({first}, ...) are not those of a FocalNet of the paper's code, of timm or of transformers"
        )
    tensors, unknown = {}, []
    for key, tensor in state.items():
        name = _translated(key, source)
        if name is None:
            unknown.append(key)
        else:
            tensors[name] = (
                tensor[:, :, None, None] if re.search(r"\.mlp\.fc[12]\.weight$", name) and tensor.dim() == 2 else tensor
            )
    for prefix in {match[0] for name in tensors if (match := re.match(r"stage\.\d+\.blocks\.\d+\.modulation\.", name))}:
        rename_foreign_keys(tensors, prefix)
    postln = any(".norm1_post." in key for key in state) if source.name == "timm" else None
    return Weights(source.name, tensors, unknown, postln)


def _translated(key: str, source: _Source) -> str | None:
    for pattern, name in source.names:
        if re.match(pattern, key):
            name = re.sub(f"^{pattern}", name, key)
            name = re.sub(r"(\d+)\+1", lambda match: str(int(match[1]) + 1), name)
            for inside, new in _INSIDE_BLOCKS:
                name = re.sub(inside, new, name)
            return name
    return None


def load(weights: Weights, embeds: list[FocalEmbed], stages: list[FocalStage]) -> list[str]:
    """Load a FocalNet's weights into its embeddings and stages.

    The first embedding then takes images from 0 to 1: ImageNet's mean and deviation, which the weights expect to have
    been subtracted and divided by, are folded into it.

    Args:
        weights: What `translate` returns.
        embeds: The embeddings, in their order.
        stages: The stages, in their order.

    Returns:
        A line for each thing that was filled up.

    Raises:
        ValueError: The weights are those of another variant; the message says in what they differ. Nothing is loaded.
    """
    _compare(weights, embeds, stages)
    states: list[tuple[nn.Module, dict[str, Tensor]]] = []
    lines = []
    kinds: tuple[tuple[str, Sequence[nn.Module]], ...] = (("embed", embeds), ("stage", stages))
    for kind, modules in kinds:
        for number, module in enumerate(modules):
            prefix = f"{kind}.{number}."
            given = {name[len(prefix) :]: value for name, value in weights.tensors.items() if name.startswith(prefix)}
            if isinstance(module, FocalStage):
                lines += [f"stage {number + 1}: {line}" for line in _fill_up(given, module)]
            elif isinstance(module, FocalEmbed) and module.mean is not None:
                given["mean"] = torch.zeros_like(module.mean)
            states.append((module, given))
    _normalize(states[0][1], embeds[0])
    for module, given in states:
        unknown = given.keys() - module.state_dict().keys()
        if unknown:
            raise ValueError(f"they have {min(unknown)} in a {type(module).__name__}, and the model has not")
    for module, given in states:
        module.load_state_dict(given)
    return lines


def _normalize(state: dict[str, Tensor], embed: FocalEmbed) -> None:
    """Fold ImageNet's mean and deviation into the first embedding's state dict."""
    mean, std = (torch.tensor(values, dtype=torch.float64) for values in (IMAGENET_MEAN, IMAGENET_STD))
    dtype = state["proj.weight"].dtype
    weight = state["proj.weight"].double() / std[:, None, None]
    if embed.mean is not None:  # padded with the mean, which a bias alone cannot say
        state["mean"] = mean.to(dtype)
    else:
        state["proj.bias"] = (state["proj.bias"].double() - (weight * mean[:, None, None]).sum((1, 2, 3))).to(dtype)
    state["proj.weight"] = weight.to(dtype)


def _fill_up(state: dict[str, Tensor], stage: FocalStage) -> list[str]:
    """Fill up a stage's kernels with zeros around, and its gates with zeros; return a line for each kind."""
    block: Any = stage.blocks[0]
    modulation = block.modulation
    kernels = [layer[0].kernel_size[0] for layer in modulation.focal_layers]
    old = _kernels(state, "blocks.0.")
    lines = []
    if kernels[: len(old)] != old:
        lines.append(f"kernels of {_sizes(old)} filled up with zeros to {_sizes(kernels[: len(old)])}")
    added = len(kernels) - len(old)
    if added:
        lines.append(
            f"{added} more focal level{'s' if added > 1 else ''}, with gates of zeros and kernels that pass on "
            "(the global context is now that of the last)"
        )
    for number in range(len(stage.blocks)):
        prefix = f"blocks.{number}.modulation."
        for level, size in enumerate(kernels):
            name = f"{prefix}focal_layers.{level}.0.weight"
            if level < len(old):
                state[name] = F.pad(state[name], [(size - old[level]) // 2] * 4)
            else:
                state[name] = torch.zeros(modulation.dim, 1, size, size)
                state[name][:, :, size // 2, size // 2] = 1
        for part in ("weight", "bias") if added else ():
            name = f"{prefix}proj_in.{part}"
            if name in state:
                before, last = state[name][:-1], state[name][-1:]  # the last gate is the global context's
                state[name] = torch.cat([before, torch.zeros_like(last).repeat(added, *[1] * (last.dim() - 1)), last])
    return lines


def _compare(weights: Weights, embeds: list[FocalEmbed], stages: list[FocalStage]) -> None:
    """Raise ValueError if weights are those of another variant than a model's."""
    tensors = weights.tensors
    numbers = {int(match[1]) for name in tensors if (match := re.match(r"stage\.(\d+)\.", name))}
    if not (len(embeds) == len(stages) == len(numbers)):
        raise ValueError(f"they have {len(numbers)} stages, and the model {len(stages)} with {len(embeds)} embeddings")
    theirs = [_features(tensors, stage) for stage in range(len(stages))]
    ours = [_features(_state(embed, stage), 0) for embed, stage in zip(embeds, stages, strict=True)]
    for what in theirs[0]:
        values = [[stage[what] for stage in side] for side in (theirs, ours)]
        if values[0] != values[1]:
            they, we = (" ".join(map(str, side)) for side in values)
            raise ValueError(f"{what}: they have {they}, and the model {we}")
    block: Any = stages[0].blocks[0]
    if weights.postln is not None and block.use_postln != weights.postln:
        places = {True: "behind FocalModulation and the MLP", False: "before them"}
        raise ValueError(f"norms: theirs are {places[weights.postln]}, and the model's {places[block.use_postln]}")
    for number, (embed, stage) in enumerate(zip(embeds, stages, strict=True)):
        expected = _state(embed, stage)
        prefix = f"stage.{number}.blocks.0."
        theirs_kernels, our_kernels = _kernels(tensors, prefix), _kernels(expected, "stage.0.blocks.0.")
        short = [(old, new) for old, new in zip(theirs_kernels, our_kernels, strict=False) if new < old]
        if len(our_kernels) < len(theirs_kernels) or short:
            raise ValueError(
                f"windows of stage {number + 1}: they have kernels of {_sizes(theirs_kernels)}, and the model smaller "
                f"or fewer ones, {_sizes(our_kernels)}"
            )
        missing = [
            name
            for name in expected
            if not re.search(r"focal_layers\.|\.mean$", name)
            and re.sub(r"^(embed|stage)\.0", rf"\1.{number}", name) not in tensors
        ]
        if missing:
            raise ValueError(f"they lack {missing[0]}")


def _features(tensors: Mapping[str, Tensor], stage: int) -> dict[str, object]:
    """Return what tells variants apart, of one stage."""
    blocks = {int(match[1]) for name in tensors if (match := re.match(rf"stage\.{stage}\.blocks\.(\d+)\.", name))}
    projection = tensors.get(f"embed.{stage}.proj.weight")
    prefix = f"stage.{stage}.blocks.0."
    return {
        "channels": None if projection is None else projection.shape[0],
        "blocks of the stages": len(blocks),
        "kernels of the embeddings": None if projection is None else projection.shape[-1],
        "LayerScale": "yes" if f"{prefix}ls1.gamma" in tensors else "no",
        "norm inside the modulation": "yes" if f"{prefix}modulation.ln.weight" in tensors else "no",
        "channels of the MLPs": len(tensors.get(f"{prefix}mlp.fc1.bias", ())),
    }


def _state(embed: nn.Module, stage: nn.Module) -> dict[str, Tensor]:
    parts = {"embed.0.": embed, "stage.0.": stage}
    return {prefix + name: tensor for prefix, part in parts.items() for name, tensor in part.state_dict().items()}


def _kernels(tensors: Mapping[str, Tensor], prefix: str) -> list[int]:
    """Return the kernel sizes of a block's focal levels."""
    pattern = re.compile(rf"{re.escape(prefix)}modulation\.focal_layers\.(\d+)\.0\.weight")
    levels = {int(match[1]): tensor.shape[-1] for name, tensor in tensors.items() if (match := pattern.fullmatch(name))}
    return [levels[level] for level in sorted(levels)]


def _sizes(kernels: list[int]) -> str:
    return ", ".join(map(str, kernels))
