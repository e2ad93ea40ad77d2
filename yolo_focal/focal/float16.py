"""What focal modulation needs under float16: everything after the context levels in float32.

The aggregate and the modulator grow with the square of the input's scale, and their product with the query with its
cube: at an input of scale 10 and weights three times PyTorch's initial ones, that product exceeds 65,504, float16's
largest value, at 29 % of the outputs that would themselves fit, and at scale 30 the aggregate does too. bfloat16 has
float32's range and needs no such care.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode


def float32_for_float16(x: Tensor) -> AbstractContextManager[object]:
    """Return a context that computes in float32, without autocast, what would be in float16; if `x` is of float16.

    The parameters of the modules that are called in it are taken as float32 values, which hold the same numbers.

    Args:
        x: A tensor of the computation. What stands for one in torch.fx has no type to ask for.
    """
    return _Float32() if isinstance(x, Tensor) and x.dtype == torch.float16 else nullcontext()


class _Float32(TorchFunctionMode):
    """Sees each call of a torch function, and gives it float32 tensors in the place of float16 ones."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        args = [_widened(value) for value in args]
        kwargs = {name: _widened(value) for name, value in (kwargs or {}).items()}
        device = next((value.device.type for value in args if isinstance(value, Tensor)), "meta")
        with nullcontext() if device == "meta" else torch.autocast(device, enabled=False):
            return function(*args, **kwargs)


def _widened(value: Any) -> Any:
    return value.float() if isinstance(value, Tensor) and value.dtype == torch.float16 else value
