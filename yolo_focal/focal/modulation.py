"""FocalModulation: the module of Focal Modulation Networks (Yang et al., NeurIPS 2022, arXiv 2203.11926).

The equations are the paper's; the state-dict names follow its reference code. What differs from that code:

- Input and output are `(B, dim, H, W)`, and every linear layer is a 1x1 convolution, so that nothing is permuted.
- The reference's submodule `f` is called `proj_in`: Ultralytics sets an attribute `f` on every layer that it builds.
- Neither the gates nor the modulator of the last forward are kept on the module: a copy or a checkpoint of a model
  that has just run would carry them. Forward hooks on `proj_in`, `focal_layers` and `h` see the same values.
- Kernels must be odd. An even one would change the height and width.

`load_state_dict` takes the state dicts of the paper's code, of timm and of Hugging Face transformers as they are. The
module's own names are stable: `proj_in`, `focal_layers.<level>.0`, `h`, `proj`, and `ln` where there is a LayerNorm.
"""

from __future__ import annotations

import logging
import operator
from typing import Any

import torch
from torch import Tensor, nn

from yolo_focal import cpu, equations

__all__ = ["FocalModulation"]


class FocalModulation(nn.Module):
    """Focal modulation of a feature map (paper section 3.2, equation 4).

    A query is taken at each position and multiplied with a modulator: depthwise convolutions of growing size gather
    context at `focal_level` levels (hierarchical contextualization, equation 5), their global average is one level
    more, and gates read from the input weight the levels at each position (gated aggregation, equation 6). The
    receptive field of the last level before the average is `1 + sum(kernel - 1)` over the levels.

    Args:
        dim: Channels of the input and of the output.
        proj_drop: Probability that dropout zeroes a value of the output, from 0 up to but not including 1.
        focal_level: Number of focal levels L, the global average not counted; at least 1.
        focal_window: Kernel size of the first level, in positions of the feature map; odd.
        focal_factor: By how much the kernel grows from one level to the next; even where there is more than one level.
        use_postln: Normalise the modulated query over its channels (LayerNorm) before the output projection.
        bias: Give the input projection and the modulator's projection a bias.
        normalize_modulator: Divide the sum over the levels by their number, `focal_level + 1`.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument has a value that cannot work; the message says which one would.

    Shape:
        Input and output: `(B, dim, H, W)`, any height and width.
    """

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
        self.dim = _whole_number("dim", dim, at_least=1)
        self.focal_level = _whole_number("focal_level", focal_level, at_least=1)
        self.normalize_modulator = _flag("normalize_modulator", normalize_modulator)
        bias = _flag("bias", bias)
        kernels = _kernel_sizes(self.focal_level, focal_window, focal_factor)
        drop = _probability("proj_drop", proj_drop)

        self.proj_in = nn.Conv2d(dim, 2 * dim + self.focal_level + 1, 1, bias=bias)
        self.focal_layers = nn.ModuleList(
            nn.Sequential(nn.Conv2d(dim, dim, k, padding=k // 2, groups=dim, bias=False), nn.GELU()) for k in kernels
        )
        self.h = nn.Conv2d(dim, dim, 1, bias=bias)
        self.ln = nn.LayerNorm(dim) if _flag("use_postln", use_postln) else None
        self.proj = nn.Conv2d(dim, dim, 1)
        self.proj_drop = nn.Dropout(drop)

    def forward(self, x: Tensor) -> Tensor:
        """Return the modulated feature map, `(B, dim, H, W)` like the input.

        Raises:
            ValueError: The input has another shape.
            TypeError: The input holds whole numbers.
        """
        # A tracer would warn that it cannot record the checks.
        if not torch.jit.is_tracing():  # type: ignore[attr-defined,no-untyped-call]
            self._check(x)
        how = cpu if cpu.suits(x, self) else equations
        out = how.modulate(
            x,
            self.proj_in,
            self.focal_layers,
            self.h,
            self.ln,
            self.proj,
            normalize_modulator=self.normalize_modulator,
        )
        result: Tensor = self.proj_drop(out)
        return result

    def _check(self, x: Tensor) -> None:
        if x.dim() != 4 or x.shape[1] != self.dim:
            given = ", ".join(str(side) for side in x.shape)
            raise ValueError(f"FocalModulation: expected an input of shape (B, {self.dim}, H, W), got ({given})")
        if not x.is_floating_point():
            raise TypeError(f"FocalModulation: expected an input of floating-point numbers, got {x.dtype}")

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        _rename(state_dict, prefix)
        own = list(self.state_dict())
        fresh = [name for name in own if prefix + name not in state_dict]
        if fresh:
            whole = fresh == own
            # Ultralytics' own logger, so that it stands beside "Transferred 343/351 items from pretrained weights".
            logging.getLogger("ultralytics").info(
                f"{prefix.rstrip('.') or 'a module'} (FocalModulation) starts {'' if whole else 'partly '}fresh: "
                f"the weights have {'nothing' if whole else 'no fitting ' + ', '.join(fresh)} for it"
            )
        super()._load_from_state_dict(state_dict, prefix, *args)


# The same tensors under other names: the paper's code has f, timm has f and norm, Hugging Face transformers the rest.
_FOREIGN_NAMES = {
    "f": "proj_in",
    "projection_in": "proj_in",
    "projection_context": "h",
    "projection_out": "proj",
    "layernorm": "ln",
    "norm": "ln",
}
_CONVOLUTIONS = {"proj_in", "h", "proj"}


def _rename(state_dict: dict[str, Any], prefix: str) -> None:
    """Give the entries of another implementation's state dict our names and shapes, in place.

    Args:
        state_dict: Of the paper's code, timm or transformers, or our own, which stays as it is.
        prefix: What precedes the module's own names.
    """
    for key in [k for k in state_dict if k.startswith(prefix)]:
        first, dot, rest = key[len(prefix) :].partition(".")
        name = _FOREIGN_NAMES.get(first, first)
        value = state_dict.pop(key)
        if name in _CONVOLUTIONS and rest == "weight" and value.dim() == 2:  # of a linear layer
            value = value[:, :, None, None]
        state_dict[f"{prefix}{name}{dot}{rest}"] = value


def _kernel_sizes(focal_level: int, focal_window: Any, focal_factor: Any) -> list[int]:
    window = _whole_number("focal_window", focal_window, at_least=1)
    factor = _whole_number("focal_factor", focal_factor, at_least=0)
    if window % 2 == 0:
        raise ValueError(f"focal_window={window}: a kernel must be odd; write {window - 1} or {window + 1}")
    if factor % 2 and focal_level > 1:
        raise ValueError(
            f"focal_factor={factor}: a kernel must be odd, and the second level's would be {window + factor}; "
            f"write {factor - 1} or {factor + 1}"
        )
    return [window + factor * level for level in range(focal_level)]


def _whole_number(name: str, value: Any, at_least: int) -> int:
    try:
        if isinstance(value, bool):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name}={value!r}: write a whole number of at least {at_least}") from None
    if number < at_least:
        raise ValueError(f"{name}={value!r}: write a whole number of at least {at_least}")
    return number


def _probability(name: str, value: Any) -> float:
    wanted = "write a number from 0 up to but not including 1, such as 0.1"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name}={value!r}: {wanted}")
    if not 0 <= value < 1:
        raise ValueError(f"{name}={value!r}: {wanted}")
    return float(value)


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{name}={value!r}: write True or False")
    return value
