"""FocalNet (arXiv 2203.11926, section 3.3) and its parts, FocalEmbed and FocalStage.

Differences from the paper's code: the downsampling stands before a stage and not at the end of the one before, so that
a stage's output has its stage's stride; an overlapping first embedding can subtract the images' mean.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from yolo_focal.arguments import flag, integer, probability
from yolo_focal.focal.block import FocalBlock
from yolo_focal.focal.norm import FocalNorm

__all__ = ["FocalEmbed", "FocalNet", "FocalStage"]

_OVERLAPPING = {4: (7, 2), 2: (3, 1)}  # stride -> kernel size and padding, as for classification


class FocalEmbed(nn.Module):
    """The embedding before a stage of FocalNet: a convolution with a stride, then a LayerNorm over the channels.

    The convolution's kernel is as large as its stride (patches that do not overlap), or with `use_conv_embed` 7x7 for
    stride 4 and 3x3 for stride 2.

    Args:
        c1: Channels of the input.
        c2: Channels of the output.
        stride: 4 for the first embedding, 2 for the others.
        use_conv_embed: Overlapping patches.
        padding: Padding of overlapping patches; by default 2 for stride 4, as the paper's code has it for
            classification (3 for detection), and 1 for stride 2. Patches that do not overlap have none.

    Attributes:
        mean: With overlapping patches and stride 4, a buffer that is subtracted from the input's channels before it is
            padded with zeros; 0 at first.

    Shape:
        Input `(B, c1, H, W)`, output `(B, c2, H / stride, W / stride)`, rounded down.
    """

    __module__ = "yolo_focal.focal"  # checkpoints name the class by this path
    mean: Tensor | None

    def __init__(self, c1: int, c2: int, stride: int, use_conv_embed: bool = False, padding: int | None = None) -> None:
        super().__init__()
        c1, c2 = integer("c1", c1, at_least=1), integer("c2", c2, at_least=1)
        if stride not in _OVERLAPPING or isinstance(stride, bool):
            raise ValueError(f"stride={stride!r}: write 4 for the first embedding, 2 for the others")
        overlapping = flag("use_conv_embed", use_conv_embed)
        kernel, default = _OVERLAPPING[stride] if overlapping else (stride, 0)
        pad = default if padding is None else integer("padding", padding, at_least=0)
        if pad and not overlapping:
            raise ValueError(f"padding={padding!r}: patches that do not overlap have none; write 0")
        if pad > kernel // 2:
            raise ValueError(f"padding={padding!r}: the kernel is {kernel}; write at most {kernel // 2}")
        self.proj = nn.Conv2d(c1, c2, kernel, stride, pad)
        self.norm = FocalNorm(c2)
        self.register_buffer("mean", torch.zeros(c1) if overlapping and stride == 4 else None)

    def forward(self, x: Tensor) -> Tensor:
        """Return the embedding, `(B, c2, H / stride, W / stride)`."""
        if self.mean is not None:
            x = x - self.mean[:, None, None]
        return self.norm(self.proj(x))  # type: ignore[no-any-return]


class FocalStage(nn.Module):
    """A stage of FocalNet: blocks in sequence, on one resolution.

    Args:
        dim: Channels of the input and of the output.
        depth: Number of blocks.
        focal_level: Number of focal levels of each block.
        focal_window: Kernel size of the first focal level; odd.
        mlp_ratio: Hidden channels of the MLPs as a multiple of `dim`.
        drop_path: Probability to leave out a block's residual branch during training: one for all blocks, or that of
            the first and that of the last, between which it changes linearly.
        use_postln: Apply the norms behind FocalModulation and the MLP instead of before.
        use_postln_in_modulation: Apply a LayerNorm inside each FocalModulation.
        normalize_modulator: Divide the modulator's sum by its number of terms.
        layerscale_value: Initial value of a learned factor for each channel of a branch; None for no factor.

    Shape:
        Input and output: `(B, dim, H, W)`.
    """

    __module__ = "yolo_focal.focal"  # checkpoints name the class by this path

    def __init__(
        self,
        dim: int,
        depth: int,
        focal_level: int = 2,
        focal_window: int = 3,
        mlp_ratio: float = 4.0,
        drop_path: float | Sequence[float] = 0.0,
        *,
        use_postln: bool = False,
        use_postln_in_modulation: bool = False,
        normalize_modulator: bool = False,
        layerscale_value: float | None = None,
    ) -> None:
        super().__init__()
        self.blocks = nn.Sequential(
            *(
                FocalBlock(
                    dim,
                    focal_level,
                    focal_window,
                    mlp_ratio,
                    rate,
                    use_postln=use_postln,
                    use_postln_in_modulation=use_postln_in_modulation,
                    normalize_modulator=normalize_modulator,
                    layerscale_value=layerscale_value,
                )
                for rate in _rates(drop_path, integer("depth", depth, at_least=1))
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the stage's output, `(B, dim, H, W)` like the input."""
        return self.blocks(x)  # type: ignore[no-any-return]


class FocalNet(nn.Module):
    """FocalNet's backbone: an embedding and a stage, four times. In a model YAML each of them is a row.

    `FocalNet(96, (2, 2, 6, 2), focal_level=3)` is the tiny one with large receptive fields. The variants, all with MLPs
    of ratio 4; level l of a stage has the kernel `focal_window + 2 * l`:

    | variant | channels | depths | levels, first window | embeddings | norms |
    | --- | --- | --- | --- | --- | --- |
    | tiny | 96 | 2-2-6-2 | srf 2, 3; lrf 3, 3 | patches | before |
    | small | 96 | 2-2-18-2 | srf 2, 3; lrf 3, 3 | patches | before |
    | base | 128 | 2-2-18-2 | srf 2, 3; lrf 3, 3 | patches | before |
    | large | 192 | 2-2-18-2 | fl3 3, 5; fl4 4, 3 | overlapping | behind, LayerScale 1e-4 |
    | xlarge | 256 | 2-2-18-2 | fl3 3, 5; fl4 4, 3 | overlapping | behind, LayerScale 1e-4 |
    | huge | 352 | 2-2-18-2 | fl3 3, 3; fl4 4, 3 | overlapping | behind and inside the modulation, LayerScale 1e-4 |

    Args:
        channels: Channels of the first stage; each of the others has twice as many as the one before.
        depths: Number of blocks of each stage.
        use_conv_embed: Overlapping patches.
        **stage: Further arguments of every FocalStage, such as `focal_level`.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument has an invalid value; the message names a valid one.

    Shape:
        Input `(B, 3, H, W)`; output a list with the map of each stage, `(B, channels, H / 4, W / 4)` the first.
    """

    __module__ = "yolo_focal.focal"  # checkpoints name the class by this path

    def __init__(self, channels: int, depths: Sequence[int], use_conv_embed: bool = False, **stage: Any) -> None:
        super().__init__()
        widths = [3, *(channels * 2**number for number in range(len(depths)))]
        self.embeds = nn.ModuleList(
            FocalEmbed(c1, c2, 2 if number else 4, use_conv_embed)
            for number, (c1, c2) in enumerate(itertools.pairwise(widths))
        )
        self.stages = nn.ModuleList(
            FocalStage(dim, depth, **stage) for dim, depth in zip(widths[1:], depths, strict=True)
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return each stage's map, the finest first."""
        maps = []
        for embed, stage in zip(self.embeds, self.stages, strict=True):
            x = stage(embed(x))
            maps.append(x)
        return maps


def _rates(drop_path: Any, depth: int) -> list[float]:
    """Return each block's probability to leave out a branch."""
    if not isinstance(drop_path, (list, tuple)):
        return [probability("drop_path", drop_path)] * depth
    if len(drop_path) != 2:
        raise ValueError(f"drop_path={drop_path!r}: write one probability, or the first block's and the last's")
    first, last = (probability("drop_path", rate) for rate in drop_path)
    return [first + (last - first) * block / max(depth - 1, 1) for block in range(depth)]
