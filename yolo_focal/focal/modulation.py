"""FocalModulation, the module of Focal Modulation Networks (Yang et al., NeurIPS 2022, arXiv 2203.11926).

It computes focal modulation as in the paper's section 3.2; the state-dict names follow its reference code. Differences
from that code:

- Input and output are `(B, dim, H, W)`, and every linear layer is a 1x1 convolution, so that nothing is permuted.
- The reference's submodule `f` is called `proj_in`: Ultralytics sets an attribute `f` on every layer that it builds.
- The gates and the modulator of the last forward pass are not stored on the module, where a copy or a checkpoint would
  include them. Forward hooks on `proj_in`, `focal_layers` and `h` see the same values.
- Kernel sizes must be odd. An even one would change the height and width.

`load_state_dict` takes the state dicts of the paper's code, of timm and of Hugging Face transformers as they are. The
module's own names are stable: `proj_in`, `focal_layers.<level>.0`, `h`, `proj`, and `ln` where there is a LayerNorm.
"""

from __future__ import annotations

import logging
from typing import Any

import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from yolo_focal.arguments import check_map, flag, integer, odd, probability
from yolo_focal.focal.depthwise import fast_gradients
from yolo_focal.focal.float16 import float32_for_float16

__all__ = ["FocalModulation"]


class FocalModulation(nn.Module):
    """Focal modulation of a feature map (paper, section 3.2).

    The query at each position is multiplied with a modulator. Depthwise convolutions of growing kernel size compute the
    context of `focal_level` focal levels, and the global average of the last one is added as a further context
    (hierarchical contextualization). Gates projected from the input weight these contexts at each position, and their
    sum is projected to the modulator (gated aggregation). The receptive field of the last focal level is
    `1 + sum(kernel - 1)` over the levels.

    Args:
        dim: Channels of the input and of the output.
        proj_drop: Dropout probability of the output, from 0 up to but not including 1.
        focal_level: Number of focal levels L, the global average not counted; at least 1.
        focal_window: Kernel size of the first focal level; odd.
        focal_factor: Increase of the kernel size from one level to the next; even if there is more than one level.
        use_postln: Apply a LayerNorm over the channels of the modulated query, before the output projection.
        bias: Whether the input projection and the modulator's projection have a bias.
        normalize_modulator: Divide the sum of the gated aggregation by its number of terms, `focal_level + 1`.

    Shape:
        Input and output: `(B, dim, H, W)`, of any height and width.
    """

    __module__ = "yolo_focal.focal"  # checkpoints name the class by this path

    def __init__(
        self,
        dim: int,
        proj_drop: float = 0.0,
        focal_level: int = 2,
        focal_window: int = 7,
        focal_factor: int = 2,
        use_postln: bool = False,
        *,
        bias: bool = True,
        normalize_modulator: bool = False,
    ) -> None:
        super().__init__()
        self.dim = integer("dim", dim, at_least=1)
        self.focal_level = integer("focal_level", focal_level, at_least=1)
        self.normalize_modulator = flag("normalize_modulator", normalize_modulator)
        bias = flag("bias", bias)
        kernels = _kernel_sizes(self.focal_level, focal_window, focal_factor)
        drop = probability("proj_drop", proj_drop)

        self.proj_in = nn.Conv2d(dim, 2 * dim + self.focal_level + 1, 1, bias=bias)
        self.focal_layers = nn.ModuleList(
            nn.Sequential(nn.Conv2d(dim, dim, k, padding=k // 2, groups=dim, bias=False), nn.GELU()) for k in kernels
        )
        self.h = nn.Conv2d(dim, dim, 1, bias=bias)
        self.ln = nn.LayerNorm(dim) if flag("use_postln", use_postln) else None
        self.proj = nn.Conv2d(dim, dim, 1)
        self.proj_drop = nn.Dropout(drop)

    def forward(self, x: Tensor) -> Tensor:
        """Return the modulated feature map, `(B, dim, H, W)` like the input.

        Raises:
            ValueError: The input has another shape.
            TypeError: The input's dtype is not a floating-point type.
        """
        check_map("FocalModulation", x, self.proj_in)
        levels = len(self.focal_layers)
        # Focal modulation is y_i = q(x_i) * h(sum over l of g_i^l * z_i^l): query q(X), Z^0 = f_z(X), gates G = f_g(X).
        projection = self.proj_in(x)
        channels = self.focal_layers[0][0].weight.shape[0]  # type: ignore[index]
        query, context, gates = projection.split((projection.shape[1] - channels - levels - 1, channels, levels + 1), 1)
        # Hierarchical contextualization: Z^l = GeLU(DWConv(Z^(l-1))), then Z^(L+1) = GeLU(AvgPool(Z^L)).
        contexts = []
        with fast_gradients(self.training):
            for layer in self.focal_layers:
                context = layer(context)
                contexts.append(context)
        contexts.append(F.gelu(context.mean((2, 3), keepdim=True)))
        # Gated aggregation and modulation: the sum, h, and the product with the query.
        with float32_for_float16(projection):
            aggregate = contexts[0] * gates[:, :1]
            for level, context in enumerate(contexts[1:], 1):
                aggregate = aggregate + context * gates[:, level : level + 1]
            if self.normalize_modulator:
                aggregate = aggregate / (levels + 1)
            out = query * self.h(aggregate)
            if self.ln is not None:
                out = self.ln(out.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
            out = self.proj(out)
        return self.proj_drop(out.to(projection.dtype))  # type: ignore[no-any-return]

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        rename_foreign_keys(state_dict, prefix)
        names = list(self.state_dict())
        missing = [name for name in names if prefix + name not in state_dict]
        if missing:
            all_missing = missing == names
            # In Ultralytics' log, which also reports "Transferred 343/351 items from pretrained weights".
            logging.getLogger("ultralytics").info(
                f"{prefix.rstrip('.') or 'a module'} (FocalModulation) starts {'' if all_missing else 'partly '}fresh: "
                f"the weights have {'nothing' if all_missing else 'no fitting ' + ', '.join(missing)} for it"
            )
        super()._load_from_state_dict(state_dict, prefix, *args)


# Submodules of other implementations: f in the paper's code, f and norm in timm, the rest in Hugging Face transformers.
_FOREIGN_NAMES = {
    "f": "proj_in",
    "projection_in": "proj_in",
    "projection_context": "h",
    "projection_out": "proj",
    "layernorm": "ln",
    "norm": "ln",
}
_CONVOLUTIONS = {"proj_in", "h", "proj"}


def rename_foreign_keys(state_dict: dict[str, Any], prefix: str) -> None:
    """Convert another implementation's state dict to this module's names and shapes, in place.

    Args:
        state_dict: That of the paper's code, timm, transformers or this module, the last of which stays as it is.
        prefix: Prefix of the module's keys, such as "model.9.".
    """
    for key in [k for k in state_dict if k.startswith(prefix)]:
        first, dot, rest = key[len(prefix) :].partition(".")
        name = _FOREIGN_NAMES.get(first, first)
        value = state_dict.pop(key)
        if name in _CONVOLUTIONS and rest == "weight" and value.dim() == 2:  # a linear layer's weight, (out, in)
            value = value[:, :, None, None]
        state_dict[f"{prefix}{name}{dot}{rest}"] = value


def _kernel_sizes(focal_level: int, focal_window: Any, focal_factor: Any) -> list[int]:
    window = odd("focal_window", focal_window)
    factor = integer("focal_factor", focal_factor, at_least=0)
    if factor % 2 and focal_level > 1:
        raise ValueError(
            f"focal_factor={factor}: a kernel must be odd, and the second level's would be {window + factor}; "
            f"write {factor - 1} or {factor + 1}"
        )
    return [window + factor * level for level in range(focal_level)]
