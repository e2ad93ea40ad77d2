"""FocalNorm, the LayerNorm of a FocalNet (arXiv 2203.11926): over the channels of a feature map."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from yolo_focal.arguments import integer, is_traced

__all__ = ["FocalNorm"]


class FocalNorm(nn.LayerNorm):
    """LayerNorm over the channels of a feature map, at each position on its own.

    It is a LayerNorm by type, so that an optimizer which spares norms from weight decay, as Ultralytics' does, spares
    this one. Its epsilon is 1e-5, that of the paper's code.

    Args:
        dim: Channels of the input and of the output.

    Raises:
        TypeError: `dim` is no integer.
        ValueError: `dim` is less than 1.

    Shape:
        Input and output: `(B, dim, H, W)`.
    """

    __module__ = "yolo_focal.focal"  # checkpoints name the class by this path

    def __init__(self, dim: int) -> None:
        super().__init__(integer("dim", dim, at_least=1), eps=1e-5)

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalised map: on a CPU in channels-last, elsewhere in the memory format of the input."""
        if not isinstance(x, Tensor):
            return self._fused(x)  # what stands for a map in torch.fx has no properties to decide by
        if x.device.type != "cpu":
            # Only an input in channels-last stays so: its convolutions are made for it, those of others are not.
            normed = self._fused(x)
            return normed if x.is_contiguous(memory_format=torch.channels_last) else normed.contiguous()
        # On a CPU the kernel is fastest over the last dimension, and so are the convolutions that read its result. Not
        # in an exported graph, which has no transpositions this way, nor of types that old releases do not support.
        plain = x.dtype == self.weight.dtype and x.dtype in (torch.float32, torch.float64)
        return self._fused(x) if plain and not is_traced() else self._by_channel(x)

    def _by_channel(self, x: Tensor) -> Tensor:
        wide = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x  # a square may exceed float16's range
        centred = wide - wide.mean(1, keepdim=True)
        deviation = torch.rsqrt((centred * centred).mean(1, keepdim=True) + self.eps)
        weight, bias = self.weight[:, None, None], self.bias[:, None, None]
        return (centred * deviation * weight + bias).to(x.dtype)

    def _fused(self, x: Tensor) -> Tensor:
        channels_last = x.permute(0, 2, 3, 1)
        normed = F.layer_norm(channels_last, self.normalized_shape, self.weight, self.bias, self.eps)
        return normed.permute(0, 3, 1, 2)
