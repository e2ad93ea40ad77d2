"""Which parts of a FocalModulation may be read in place of being called.

The CPU implementation and the float32 tail under float16 read the weights of submodules and compute with them. That
equals a call only where a submodule is what `FocalModulation.__init__` created and nobody observes or changes its call.
The checks below name what they accept. Everything else (a replaced, wrapped, pruned, fused, hooked or parametrized
submodule, an instance's own `forward`, a tensor subclass) is called.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.modules.module as torch_module
from torch import Tensor, nn

# The attributes that the constructors set. An instance with another one, such as a `forward` of its own or the `weight`
# that pruning computes, is not as its constructor left it.
_ATTRIBUTES = {
    nn.Conv2d: frozenset(vars(nn.Conv2d(1, 1, 1))),
    nn.GELU: frozenset(vars(nn.GELU())),
    nn.LayerNorm: frozenset(vars(nn.LayerNorm(1))),
    nn.Sequential: frozenset(vars(nn.Sequential())),
    nn.ModuleList: frozenset(vars(nn.ModuleList())),
}

# What the classes do when they are called, as it was when this file was imported: a library may patch a class.
_METHODS = tuple(
    (cls, name, getattr(cls, name))
    for cls, name in (
        (nn.Module, "__call__"),
        (nn.Module, "_call_impl"),
        (nn.Conv2d, "forward"),
        (nn.Conv2d, "_conv_forward"),
        (nn.GELU, "forward"),
        (nn.LayerNorm, "forward"),
        (nn.Sequential, "forward"),
    )
)

_GLOBAL_HOOKS = tuple(
    getattr(torch_module, name)
    for name in (
        "_global_forward_hooks",
        "_global_forward_pre_hooks",
        "_global_backward_hooks",
        "_global_backward_pre_hooks",
    )
    if hasattr(torch_module, name)
)


def is_pristine(module: Any) -> bool:
    """Return whether each part that a FocalModulation computes with is what its constructor created.

    Args:
        module: The FocalModulation. Its dropout is left out: it is always called.
    """
    dim, levels = module.dim, module.focal_level
    parts = module._modules  # as nn.Module's attribute access takes most of the time that this check has
    focal_layers, ln = parts.get("focal_layers"), module.ln
    return (
        calls_are_standard()
        and _is_projection(parts.get("proj_in"), dim, 2 * dim + levels + 1)
        and _is_untouched(focal_layers, nn.ModuleList)
        and len(focal_layers._modules) == levels
        and all(_is_focal_layer(layer, dim) for layer in focal_layers._modules.values())
        and _is_projection(parts.get("h"), dim, dim)
        and (ln is None or (is_layer_norm(ln) and ln.normalized_shape == (dim,)))
        and _is_projection(parts.get("proj"), dim, dim)
    )


def calls_are_standard() -> bool:
    """Return whether calling a module runs torch's own code and nothing else: no global hook, no patched class."""
    if any(_GLOBAL_HOOKS):
        return False
    return all(getattr(cls, name) is method for cls, name, method in _METHODS)


def is_pointwise(module: Any) -> bool:
    """Return whether a module is an untouched 1x1 convolution."""
    return (
        _is_untouched(module, nn.Conv2d)
        and _geometry(module) == ((1, 1), (1, 1), (0, 0), (1, 1), 1, "zeros")
        and _has_tensors(module, (module.out_channels, module.in_channels, 1, 1), (module.out_channels,))
    )


def is_layer_norm(module: Any) -> bool:
    """Return whether a module is an untouched LayerNorm with weight and bias."""
    return (
        _is_untouched(module, nn.LayerNorm)
        and module._parameters.get("bias") is not None
        and _has_tensors(module, module.normalized_shape, module.normalized_shape)
    )


def _is_projection(module: Any, inputs: int, outputs: int) -> bool:
    return is_pointwise(module) and module.in_channels == inputs and module.out_channels == outputs


def _is_focal_layer(module: Any, dim: int) -> bool:
    """Return whether a module is an untouched focal level: a depthwise convolution without bias, then a GELU."""
    if not _is_untouched(module, nn.Sequential) or len(module._modules) != 2:
        return False
    convolution, activation = module._modules.values()
    if not _is_untouched(convolution, nn.Conv2d) or not _is_untouched(activation, nn.GELU):
        return False
    kernel = convolution.kernel_size[0]
    padding = kernel // 2
    return (
        kernel % 2 == 1
        and _geometry(convolution) == ((kernel, kernel), (1, 1), (padding, padding), (1, 1), dim, "zeros")
        and _has_tensors(convolution, (dim, 1, kernel, kernel), None)
        and activation.approximate == "none"
    )


def _geometry(module: nn.Conv2d) -> tuple[Any, ...]:
    return (
        module.kernel_size,
        module.stride,
        module.padding,
        module.dilation,
        module.groups,
        module.padding_mode,
    )


def _is_untouched(module: Any, cls: type[nn.Module]) -> bool:
    """Return whether a module is of this very class, with the attributes that its constructor sets, and has no hook."""
    if type(module) is not cls:
        return False
    attributes = vars(module)
    return (
        attributes.keys() <= _ATTRIBUTES[cls]
        and not attributes["_forward_hooks"]
        and not attributes["_forward_pre_hooks"]
        and not attributes["_backward_hooks"]
        and not attributes.get("_backward_pre_hooks")
    )


def _has_tensors(module: nn.Module, weight: tuple[int, ...], bias: tuple[int, ...] | None) -> bool:
    """Return whether weight and bias are plain tensors of these shapes; a bias may be missing."""
    parameters = module._parameters
    if parameters.keys() != {"weight", "bias"} or module._buffers or module._modules:
        return False
    given: Any = parameters["weight"]
    if not is_plain(given) or given.shape != weight:
        return False
    given = parameters["bias"]
    return given is None or (bias is not None and is_plain(given) and given.shape == bias)


def is_plain(tensor: Any) -> bool:
    """Return whether a tensor is one of torch's own, dense and no subclass with operations of its own."""
    return type(tensor) in (nn.Parameter, Tensor) and tensor.layout is torch.strided
