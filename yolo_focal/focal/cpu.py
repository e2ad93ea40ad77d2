"""FocalModulation on the CPU, some images at a time, with a backward pass of its own.

Three things cost most when PyTorch runs the equations operation by operation on a CPU:

- The weight gradient of a depthwise convolution, up to 95 % of that convolution's backward pass. It is itself a
  depthwise convolution: of the input, each channel for itself, with the output's gradient as its kernel. Written so,
  it runs on the kernels of the forward pass.
- Fresh memory. A tensor of a whole batch is new pages at every step, and to touch a new page takes longer than to
  compute what is written there. Here the tensors of some images are used again for the next ones, in the cache.
- What is kept from forward to backward. Here that is the input, its projection, the aggregate and the modulator; the
  context levels, two tensors each and cheap, are computed again.

Every result equals that of `equations.py` up to rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial, wraps
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from yolo_focal import equations

# How many numbers of a feature map are taken together: of images, then of channels, fewer of them where more is kept
# for each number. Less costs time (many calls, small matrices); more costs memory and, from 2**21 on, time as well.
_IMAGES = 2**20
_CHANNELS_FORWARD = 2**20
_CHANNELS_BACKWARD = 2**18

# An input of fewer numbers takes longer this way than operation by operation (measured at batch 1 up to 8x8).
_FEWEST = 2**15

_gelu = torch.ops.aten.gelu
_gelu_backward = torch.ops.aten.gelu_backward

# What tells of autocast on the CPU alone came with torch 2.4, what tells of a compiler before it. The convolutions are
# oneDNN's: without it, this file's way has not been measured.
_AVAILABLE = hasattr(torch, "get_autocast_dtype") and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]


class _Options(NamedTuple):
    normalize_modulator: bool
    eps: float


class _Parameters(NamedTuple):
    """The module's tensors, those of the 1x1 convolutions as `(out, in, 1, 1)`; None for what it does without."""

    proj_in: Tensor
    proj_in_bias: Tensor | None
    h: Tensor
    h_bias: Tensor | None
    ln: Tensor | None
    ln_bias: Tensor | None
    proj: Tensor
    proj_bias: Tensor | None
    focal_layers: tuple[Tensor, ...]


def suits(x: Tensor, module: nn.Module) -> bool:
    """Whether `modulate` may take the place of the equations for this input.

    Not for small inputs, and not where somebody looks at single operations (a tracer, a compiler, a hook) or changes
    them (autocast, torch.func, another module put in the place of ours).
    """
    return (
        _AVAILABLE
        and not torch.compiler.is_compiling()
        and not torch.jit.is_tracing()  # type: ignore[attr-defined,no-untyped-call]
        and not torch.is_autocast_enabled("cpu")
        and x.device.type == "cpu"
        and x.dtype in (torch.float32, torch.float64)
        and x.numel() >= _FEWEST
        and all(_is_plain(m) for m in module.modules() if m is not module)
        and all(t.dtype == x.dtype and _is_in_memory(t) for t in (x, *module.parameters()))
    )


def _is_plain(module: nn.Module) -> bool:
    if module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks:
        return False
    if type(module) is nn.Conv2d:
        same = tuple(side // 2 for side in module.kernel_size)
        return module.padding == same and module.dilation == (1, 1) and module.padding_mode == "zeros"
    if type(module) is nn.GELU:
        return module.approximate == "none"
    return type(module) in (nn.LayerNorm, nn.Sequential, nn.ModuleList, nn.Dropout)


def _is_in_memory(tensor: Tensor) -> bool:
    """Whether a tensor holds its numbers itself; torch.func's wrappers and subclasses for other storage do not."""
    try:
        return tensor.data_ptr() != 0
    except RuntimeError:
        return False


def modulate(
    x: Tensor,
    proj_in: nn.Conv2d,
    focal_layers: nn.ModuleList,
    h: nn.Conv2d,
    ln: nn.LayerNorm | None,
    proj: nn.Conv2d,
    *,
    normalize_modulator: bool,
) -> Tensor:
    """`equations.modulate` for an input and modules that `suits` has approved."""
    if not x.is_contiguous(memory_format=torch.channels_last):
        x = x.contiguous()
    norm = (None, None) if ln is None else (ln.weight, ln.bias)
    convolutions = (layer[0].weight for layer in focal_layers)  # type: ignore[index]
    tensors = (proj_in.weight, proj_in.bias, h.weight, h.bias, *norm, proj.weight, proj.bias, *convolutions)
    options = _Options(normalize_modulator, 0.0 if ln is None else ln.eps)
    if torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in (x, *tensors)):
        return _Modulation.apply(x, options, *tensors)  # type: ignore[no-any-return]
    return _forward(x, options, _parameters(tensors), keep=False)[0]


def _parameters(tensors: Sequence[Any]) -> _Parameters:
    return _Parameters._make((*tensors[:8], tuple(tensors[8:])))


def _without_autocast(backward: Callable[..., Any]) -> Callable[..., Any]:
    """Switch autocast off, as it was in the forward pass: the backward pass may be called inside of it."""

    @wraps(backward)
    def call(ctx: Any, grad: Tensor) -> Any:
        with torch.autocast("cpu", enabled=False):
            return backward(ctx, grad)

    return call


class _Modulation(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, options: _Options, *tensors: Tensor | None) -> Tensor:
        out, kept = _forward(x, options, _parameters(tensors), keep=True)
        ctx.options = options
        ctx.save_for_backward(*kept, x, *tensors)
        return out

    @staticmethod
    @_without_autocast
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        projections, aggregates, modulators, x, *tensors = ctx.saved_tensors
        kept = (projections, aggregates, modulators)
        wanted = (ctx.needs_input_grad[0], *ctx.needs_input_grad[2:])
        if torch.is_grad_enabled():  # somebody will differentiate the gradient
            gradients = _differentiable_backward(grad, x, ctx.options, tensors, wanted)
        else:
            gradients = _backward(grad, kept, x, ctx.options, _parameters(tensors), wanted)
        return (gradients[0], None, *gradients[1:])


def _forward(x: Tensor, options: _Options, p: _Parameters, keep: bool) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Return the output, and what the backward pass needs of each image."""
    batch, channels, height, width = x.shape
    levels, area = len(p.focal_layers), height * width
    out = torch.empty_like(x)
    groups = list(_images(x))
    kept = batch if keep else groups[0].stop
    projections = x.new_empty(kept, 2 * channels + levels + 1, area)
    aggregates, modulators = (x.new_empty(kept, channels, area) for _ in range(2))
    for images in groups:
        slots = images if keep else slice(images.stop - images.start)
        projection, aggregate, modulator = projections[slots], aggregates[slots], modulators[slots]
        _linear(p.proj_in, p.proj_in_bias, x[images].flatten(2), projection)
        query, context, gates = torch.split(projection, [channels, channels, levels + 1], 1)
        for some in _channels(context, _CHANNELS_FORWARD):
            total, level_context = aggregate[:, some], context[:, some]
            for level, weight in enumerate(p.focal_layers):
                level_context = F.gelu(_depthwise(level_context, weight[some], height))
                if level == 0:
                    torch.mul(level_context, gates[:, :1], out=total)
                else:
                    total.addcmul_(level_context, gates[:, level : level + 1])
            total.addcmul_(F.gelu(level_context.mean(2, keepdim=True)), gates[:, levels:])
        if options.normalize_modulator:
            aggregate /= levels + 1
        _linear(p.h, p.h_bias, aggregate, modulator)
        modulated = torch.mul(query, modulator, out=None if keep else aggregate)
        if p.ln is not None:
            modulated = _normalize(modulated, options, p)
        _linear(p.proj, p.proj_bias, modulated, out[images].flatten(2))
    return out, (projections, aggregates, modulators)


class _Gradients(dict[Any, Tensor]):
    """The wanted parameters' gradients by field, those of the focal layers by level; made when first added to."""

    def __init__(self, p: _Parameters, wanted: Sequence[bool]) -> None:
        names = [*_Parameters._fields[:8], *range(len(p.focal_layers))]
        tensors = dict(zip(names, (*p[:8], *p.focal_layers)))
        self.names = names
        self.wanted = {name: tensors[name] for name, want in zip(names, wanted) if want}

    def __missing__(self, name: Any) -> Tensor:
        self[name] = torch.zeros_like(self.wanted[name])
        return self[name]

    def add(self, name: Any, gradient: Tensor, part: slice = slice(None)) -> None:
        if name in self.wanted:
            self[name][part] += gradient

    def add_linear(self, name: str, grad: Tensor, x: Tensor, outputs: slice = slice(None)) -> None:
        """Add what a 1x1 convolution, or some of its outputs, gives for its weight and its bias."""
        if name in self.wanted:
            self[name].flatten(1)[outputs].addbmm_(grad, x.transpose(1, 2))
        if f"{name}_bias" in self.wanted:
            self[f"{name}_bias"][outputs] += grad.sum((0, 2))


def _backward(
    grad: Tensor, kept: tuple[Tensor, ...], x: Tensor, options: _Options, p: _Parameters, wanted: tuple[bool, ...]
) -> list[Tensor | None]:
    """Return the gradients of the input and of each parameter, None for those that are not wanted.

    The context levels, which need most memory, come as early as they can: before the matrices' gradients are made.
    """
    channels, height = x.shape[1:3]
    levels = len(p.focal_layers)
    gradients = _Gradients(p, wanted[1:])
    grad_x = None
    for images in _images(x):
        projection, aggregate, modulator = (tensor[images] for tensor in kept)
        query, context, gates = torch.split(projection, [channels, channels, levels + 1], 1)
        source, grad_out = x[images].flatten(2), grad[images].flatten(2)

        grad_modulated = torch.bmm(_transposed(p.proj, grad_out), grad_out)
        if p.ln is not None:
            grad_modulated = _norm_gradients(grad_modulated, query * modulator, options, p, gradients)
        grad_modulator = grad_modulated * query
        grad_aggregate = torch.bmm(_transposed(p.h, grad_modulator), grad_modulator)
        del grad_modulator
        if options.normalize_modulator:
            grad_aggregate /= levels + 1
        grad_rest = x.new_empty(len(source), channels + levels + 1, source.shape[2])
        grad_context, grad_gates = torch.split(grad_rest, [channels, levels + 1], 1)
        grad_gates.zero_()
        for some in _channels(context, _CHANNELS_BACKWARD):
            kernels = [kernel[some] for kernel in p.focal_layers]
            grad_kernels = _context_gradients(
                grad_aggregate[:, some], context[:, some], gates, height, kernels, grad_context[:, some], grad_gates
            )
            for level, gradient in enumerate(grad_kernels):
                gradients.add(level, gradient, some)
        del grad_aggregate

        modulated = query * modulator
        if p.ln is not None:
            modulated = _normalize(modulated, options, p)
        gradients.add_linear("proj", grad_out, modulated)
        gradients.add_linear("h", torch.mul(grad_modulated, query, out=modulated), aggregate)
        del modulated
        grad_query = grad_modulated.mul_(modulator)
        gradients.add_linear("proj_in", grad_query, source, slice(channels))
        gradients.add_linear("proj_in", grad_rest, source, slice(channels, None))
        if wanted[0]:
            if grad_x is None:
                grad_x = torch.empty_like(x)
            target = grad_x[images].flatten(2)
            torch.bmm(_transposed(p.proj_in[:channels], grad_query), grad_query, out=target)
            target.baddbmm_(_transposed(p.proj_in[channels:], grad_rest), grad_rest)
    return [grad_x, *(gradients.get(name) for name in gradients.names)]


def _normalize(modulated: Tensor, options: _Options, p: _Parameters) -> Tensor:
    rows = modulated.transpose(1, 2)
    return F.layer_norm(rows, rows.shape[2:], p.ln, p.ln_bias, options.eps).transpose(1, 2)


def _norm_gradients(
    grad: Tensor, modulated: Tensor, options: _Options, p: _Parameters, gradients: _Gradients
) -> Tensor:
    """Go back through the LayerNorm; return the modulated query's gradient."""
    rows, shape = modulated.transpose(1, 2), modulated.shape[1:2]
    _, mean, rstd = torch.native_layer_norm(rows, shape, p.ln, p.ln_bias, options.eps)
    grad_rows, grad_weight, grad_bias = torch.ops.aten.native_layer_norm_backward(
        grad.transpose(1, 2), rows, shape, mean, rstd, p.ln, p.ln_bias, [True, True, True]
    )
    gradients.add("ln", grad_weight)
    gradients.add("ln_bias", grad_bias)
    return grad_rows.transpose(1, 2)  # type: ignore[no-any-return]


def _context_gradients(
    grad_total: Tensor,
    context: Tensor,
    gates: Tensor,
    height: int,
    kernels: list[Tensor],
    grad_context: Tensor,
    grad_gates: Tensor,
) -> list[Tensor]:
    """Go back through the context levels of some channels; return the gradients of the kernels.

    Args:
        grad_total: The aggregate's gradient, `(B, C, H * W)`.
        context: What the first level is given.
        gates: `(B, L + 1, H * W)`.
        height: H.
        kernels: The weight of each level.
        grad_context: Where the gradient of `context` is written; until then a place to work in.
        grad_gates: Where the gates' gradient is added.
    """
    levels = len(kernels)
    before, contexts = [], [context]  # of each level: what its GELU is given, and what the level is given
    for level, weight in enumerate(kernels):
        before.append(_depthwise(contexts[-1], weight, height))
        if level < levels - 1:
            contexts.append(F.gelu(before[-1]))
            grad_gates[:, level] += torch.mul(grad_total, contexts[-1], out=grad_context).sum(1)
    # In float32 torch's GELU (2.15) writes wrong numbers to a place that is not contiguous.
    last = _gelu.out(before[-1], out=grad_context) if grad_context.is_contiguous() else F.gelu(before[-1])
    mean = last.mean(2, keepdim=True)
    grad_gates[:, levels - 1] += last.mul_(grad_total).sum(1)
    grad_gates[:, levels:] += torch.bmm(F.gelu(mean).transpose(1, 2), grad_total)
    grad_mean = _gelu_backward(torch.bmm(grad_total, gates[:, levels:].transpose(1, 2)), mean)
    grad_given = grad_mean / context.shape[2]
    grad_kernels = []
    for level in reversed(range(levels)):
        torch.addcmul(grad_given, grad_total, gates[:, level : level + 1], out=grad_context)
        grad_before = before.pop()
        _gelu_backward.grad_input(grad_context, grad_before, grad_input=grad_before)
        kernel = kernels[level]
        grad_kernels.append(_depthwise_weight_gradient(contexts.pop(), grad_before, height, kernel.shape[-1]))
        grad_given = _depthwise(grad_before, kernel.flip(2, 3), height)
    grad_context.copy_(grad_given)
    return grad_kernels[::-1]


def _differentiable_backward(
    grad: Tensor, x: Tensor, options: _Options, tensors: Sequence[Any], wanted: tuple[bool, ...]
) -> list[Tensor | None]:
    p = _parameters(tensors)

    def focal_layer(weight: Tensor, context: Tensor) -> Tensor:
        return F.gelu(F.conv2d(context, weight, padding=weight.shape[-1] // 2, groups=weight.shape[0]))

    ln = partial(F.layer_norm, normalized_shape=x.shape[1:2], weight=p.ln, bias=p.ln_bias, eps=options.eps)
    out = equations.modulate(
        x,
        partial(F.conv2d, weight=p.proj_in, bias=p.proj_in_bias),
        [partial(focal_layer, weight) for weight in p.focal_layers],
        partial(F.conv2d, weight=p.h, bias=p.h_bias),
        None if p.ln is None else ln,
        partial(F.conv2d, weight=p.proj, bias=p.proj_bias),
        normalize_modulator=options.normalize_modulator,
    )
    asked = [tensor for tensor, want in zip((x, *tensors), wanted) if want]
    gradients = iter(torch.autograd.grad(out, asked, grad, create_graph=True))
    return [next(gradients) if want else None for want in wanted]


def _images(x: Tensor) -> Iterator[slice]:
    return _slices(len(x), max(_IMAGES // x[0].numel(), 1))


def _channels(context: Tensor, numbers: int) -> Iterator[slice]:
    # The kernels work in sixteens.
    return _slices(context.shape[1], max(numbers // context[:, 0].numel() // 16, 1) * 16)


def _slices(length: int, step: int) -> Iterator[slice]:
    return (slice(start, min(start + step, length)) for start in range(0, length, step))


def _matrices(weight: Tensor, x: Tensor) -> Tensor:
    """A 1x1 convolution's weight as a matrix for each image of `x`."""
    return weight.flatten(1).expand(len(x), *weight.shape[:2])


def _transposed(weight: Tensor, x: Tensor) -> Tensor:
    return _matrices(weight.transpose(0, 1), x)


def _linear(weight: Tensor, bias: Tensor | None, x: Tensor, out: Tensor) -> None:
    """Write a 1x1 convolution of `(B, C, H * W)` to `out`."""
    if bias is None:
        torch.bmm(_matrices(weight, x), x, out=out)
    else:
        torch.baddbmm(bias[:, None], _matrices(weight, x), x, out=out)


def _depthwise(x: Tensor, weight: Tensor, height: int) -> Tensor:
    """Convolve `(B, C, H * W)` with `(C, 1, k, k)`, "same" padding."""
    planes = x.view(*x.shape[:2], height, -1)
    return F.conv2d(planes, weight, padding=weight.shape[-1] // 2, groups=x.shape[1]).flatten(2)


def _depthwise_weight_gradient(x: Tensor, grad: Tensor, height: int, kernel: int) -> Tensor:
    batch, channels = x.shape[:2]
    planes = x.reshape(1, batch * channels, height, -1)
    kernels = grad.reshape(batch * channels, 1, height, -1)
    of_each = F.conv2d(planes, kernels, padding=kernel // 2, groups=batch * channels)
    return of_each.view(batch, channels, 1, kernel, kernel).sum(0)
