"""FocalNets of other implementations with random weights, and the published variants."""

from __future__ import annotations

import re
from functools import partial
from typing import Any

import torch
from timm.layers import LayerNorm2d
from timm.models.focalnet import FocalNet as TimmFocalNet
from torch import Tensor, nn
from transformers import FocalNetConfig, FocalNetForImageClassification

from yolo_focal.focal.weights import IMAGENET_MEAN, IMAGENET_STD

# The published variants: channels, blocks of the stages, focal levels, first window, and what the large ones have.
_SMALL, _DEEP = (2, 2, 6, 2), (2, 2, 18, 2)
_LARGE = {"depths": _DEEP, "use_conv_embed": True, "use_postln": True, "layerscale_value": 1e-4}
VARIANTS: dict[str, dict[str, Any]] = {
    **{
        f"{size}_{field}": {"channels": channels, "depths": depths, "focal_level": level, "focal_window": 3}
        for size, channels, depths in (("tiny", 96, _SMALL), ("small", 96, _DEEP), ("base", 128, _DEEP))
        for field, level in (("srf", 2), ("lrf", 3))
    },
    **{
        f"{size}_{field}": {"channels": channels, "focal_level": level, "focal_window": window, **_LARGE}
        for size, channels in (("large", 192), ("xlarge", 256))
        for field, level, window in (("fl3", 3, 5), ("fl4", 4, 3))
    },
    **{
        f"huge_{field}": {
            "channels": 352,
            "focal_level": level,
            "focal_window": 3,
            **_LARGE,
            "use_postln_in_modulation": True,
        }
        for field, level in (("fl3", 3), ("fl4", 4))
    },
}


def timm(
    channels: int,
    depths: tuple[int, ...],
    focal_level: int,
    focal_window: int,
    use_conv_embed: bool = False,
    use_postln: bool = False,
    layerscale_value: float | None = None,
    use_postln_in_modulation: bool = False,
) -> Any:
    model = TimmFocalNet(
        embed_dim=channels,
        depths=depths,
        focal_levels=(focal_level,) * 4,
        focal_windows=(focal_window,) * 4,
        use_overlap_down=use_conv_embed,
        use_post_norm=use_postln,
        use_post_norm_in_modulation=use_postln_in_modulation,
        layerscale_value=layerscale_value,
        norm_layer=partial(LayerNorm2d, eps=1e-5),
    )
    return scrambled(model)


def transformers(
    channels: int,
    depths: tuple[int, ...],
    focal_level: int,
    focal_window: int,
    use_conv_embed: bool = False,
    use_postln: bool = False,
    layerscale_value: float | None = None,
    use_postln_in_modulation: bool = False,
) -> Any:
    theirs = FocalNetConfig(
        embed_dim=channels,
        hidden_sizes=[channels * 2**i for i in range(4)],
        depths=[*depths],
        focal_levels=[focal_level] * 4,
        focal_windows=[focal_window] * 4,
        use_conv_embed=use_conv_embed,
        use_post_layernorm=use_postln,
        use_post_layernorm_in_modulation=use_postln_in_modulation,
        use_layerscale=layerscale_value is not None,
        layerscale_value=layerscale_value or 1e-4,
        num_labels=1000,
    )
    return scrambled(FocalNetForImageClassification(theirs))


def scrambled(model: nn.Module) -> nn.Module:
    """Give a model weights in which nothing is 0 or 1, as norms and LayerScale are at first."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * (0.2 if parameter.dim() == 1 else 0.05))
    return model.eval()


def timm_features(model: Any, x: Tensor) -> list[Tensor]:
    return model.forward_intermediates(x, intermediates_only=True)


def transformers_features(model: Any, x: Tensor) -> list[Tensor]:
    """Return each stage's output; the model's own option for them fails where it computes their sizes."""
    hidden, size = model.focalnet.embeddings(x)
    features = []
    for stage in model.focalnet.encoder.stages:
        hidden, before_downsampling, next_size = stage(hidden, size)
        features.append(before_downsampling.transpose(1, 2).unflatten(2, size))
        size = next_size[-2:]
    return features


def papers_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename timm's state dict as the paper's code has it, with linear layers' weights in two dimensions."""
    renamed = {}
    for key, value in state.items():
        name = key.replace("stem.", "patch_embed.").replace("head.fc.", "head.").replace("_post.", ".")
        name = re.sub(r"ls([12])\.gamma", r"gamma_\1", name).replace("modulation.norm.", "modulation.ln.")
        name = re.sub(r"layers\.(\d)\.downsample", lambda m: f"layers.{int(m[1]) - 1}.downsample", name)
        is_linear = re.search(r"(modulation\.(f|proj)|mlp\.fc[12])\.weight$", name)
        renamed[name] = value[:, :, 0, 0] if is_linear else value
    return renamed


def normalized(image: Tensor) -> Tensor:
    """Subtract ImageNet's mean and divide by its deviation, as other implementations expect it of their input."""
    mean, std = (torch.tensor(values, dtype=image.dtype)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
    return (image - mean) / std
