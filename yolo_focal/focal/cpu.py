"""CPU implementation of FocalModulation: a chunk of the batch at a time, with its own backward pass.

Three things cost most when PyTorch runs the module operation by operation on a CPU:

- The weight gradient of a depthwise convolution, up to 95 % of that convolution's backward pass. It is itself a
  depthwise convolution: of the input, channel by channel, with the output's gradient as the kernel. Computed that way,
  it uses the same oneDNN kernels as the forward pass.
- Newly allocated memory. A tensor of a whole batch takes new pages at every step, and the first write to a new page
  takes longer than computing the values that are written there. Here the intermediate tensors of one chunk of images
  are reused for the next chunk and stay in the cache.
- The tensors saved for the backward pass. Here these are the input, its projection, the aggregate and the modulator;
  the context levels, two tensors each and cheap to compute, are recomputed.

Every result equals that of `equations.py` up to rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial, wraps
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.autograd import forward_ad

from yolo_focal.focal import equations
from yolo_focal.focal.pristine import is_plain, is_pristine

# Elements of a feature map in a chunk: first of images, then of channels. The backward pass holds more tensors for each
# element and so takes fewer channels. Smaller chunks cost time (more calls, smaller matrices); larger ones cost memory
# and, from 2**21 elements on, time as well.
_IMAGE_CHUNK = 2**20
_FORWARD_CHANNEL_CHUNK = 2**20
_BACKWARD_CHANNEL_CHUNK = 2**18

# An input with fewer elements is faster operation by operation (measured at batch 1, feature maps up to 8x8).
_MIN_ELEMENTS = 2**15

# In channels-last, kernels up to 7x7 are faster operation by operation (measured: 3, 5 and 7 for 96 to 1,024 channels),
# but for forward passes without gradients over as many elements as these.
_MIN_KERNEL_IN_CHANNELS_LAST = 9
_MIN_ELEMENTS_IN_CHANNELS_LAST = 2**21

_gelu = torch.ops.aten.gelu
_gelu_backward = torch.ops.aten.gelu_backward

# torch.is_autocast_enabled("cpu") came with torch 2.4, together with get_autocast_dtype; all else is older. Without
# oneDNN (mkldnn) for the convolutions this implementation has not been measured.
_AVAILABLE = hasattr(torch, "get_autocast_dtype") and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]


def _dense_keys() -> frozenset[int]:
    """Return the dispatch keys of an ordinary tensor on the CPU, and of one made in inference mode."""
    with torch.inference_mode():
        tensors = [torch.empty(0, device="cpu")]
    tensors.append(torch.empty(0, device="cpu"))
    return frozenset(torch._C._dispatch_keys(tensor).raw_repr() for tensor in tensors)


_DENSE_KEYS = _dense_keys() if _AVAILABLE else frozenset()


class _Options(NamedTuple):
    """The arguments that are not tensors; `eps` is the LayerNorm's."""

    normalize_modulator: bool
    eps: float


class _Parameters(NamedTuple):
    """The module's parameters, those of the 1x1 convolutions as `(out, in, 1, 1)`; None for those that it lacks."""

    proj_in: Tensor
    proj_in_bias: Tensor | None
    h: Tensor
    h_bias: Tensor | None
    ln: Tensor | None
    ln_bias: Tensor | None
    proj: Tensor
    proj_bias: Tensor | None
    focal_layers: tuple[Tensor, ...]


def suits(x: Tensor, module: Any) -> bool:
    """Return whether `modulate` may replace `equations.modulate` for this input.

    True for a plain tensor on the CPU, of float32 or float64 like the parameters and not too small, in eager mode
    without autocast, and a module with the submodules that its constructor created.

    Args:
        x: The input, `(B, C, H, W)`.
        module: The FocalModulation.
    """
    return (
        _AVAILABLE
        and not torch.compiler.is_compiling()
        and not torch.jit.is_tracing()  # type: ignore[attr-defined,no-untyped-call]
        and not torch.is_autocast_enabled("cpu")
        and x.dtype in (torch.float32, torch.float64)
        and x.numel() >= _MIN_ELEMENTS
        and _runs_eagerly(x)
        and is_pristine(module)
        and (x.is_contiguous() or _pays_in_channels_last(x, module))
        and all(
            t is None or (t.dtype == x.dtype and _is_dense(t))
            for t in _tensors(module.proj_in, module.focal_layers, module.h, module.ln, module.proj)
        )
    )


def _pays_in_channels_last(x: Tensor, module: Any) -> bool:
    if module.focal_layers[-1][0].kernel_size[0] >= _MIN_KERNEL_IN_CHANNELS_LAST:
        return True
    return x.numel() >= _MIN_ELEMENTS_IN_CHANNELS_LAST and not torch.is_grad_enabled()


def _runs_eagerly(x: Tensor) -> bool:
    """Return whether an operation on `x` is computed at once and by torch itself.

    Not so under torch.func's transforms, vmap (which is_grads_batched=True uses), forward-mode differentiation, or a
    mode that sees each function or operation.
    """
    return (
        is_plain(x)
        and _is_dense(x)
        and not torch._C._are_functorch_transforms_active()
        and forward_ad._current_level < 0
        and torch._C._len_torch_function_stack() == 0
        and torch._C._len_torch_dispatch_stack() == 0
    )


def _is_dense(tensor: Tensor) -> bool:
    """Return whether a tensor is an ordinary one in the CPU's memory, by the dispatch keys of such tensors."""
    return torch._C._dispatch_keys(tensor).raw_repr() in _DENSE_KEYS


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
    """Compute `equations.modulate` for an input and modules for which `suits` returned True.

    Args:
        x: The feature map, `(B, C, H, W)`.
        proj_in: The input projection, with 2 * C + L + 1 output channels.
        focal_layers: The L focal levels, each a depthwise convolution and a GELU.
        h: The modulator's projection.
        ln: The LayerNorm of the modulated query, or None.
        proj: The output projection.
        normalize_modulator: Divide the gated sum by its number of terms, L + 1.

    Returns:
        The modulated feature map, `(B, C, H, W)`.
    """
    if not x.is_contiguous(memory_format=torch.channels_last):
        x = x.contiguous()
    tensors = _tensors(proj_in, focal_layers, h, ln, proj)
    options = _Options(normalize_modulator, 0.0 if ln is None else ln.eps)
    if torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in (x, *tensors)):
        return FocalModulationFunction.apply(x, options, *tensors)  # type: ignore[no-any-return]
    return _forward(x, options, _parameters(tensors), save=False)[0]


def _tensors(proj_in: Any, focal_layers: Any, h: Any, ln: Any, proj: Any) -> tuple[Tensor | None, ...]:
    """Return the parameters of a module's parts, in the order of `_Parameters`, its last field spread out."""
    norm = (None, None) if ln is None else (ln.weight, ln.bias)
    kernels = (layer[0].weight for layer in focal_layers)
    return (proj_in.weight, proj_in.bias, h.weight, h.bias, *norm, proj.weight, proj.bias, *kernels)


def _parameters(tensors: Sequence[Any]) -> _Parameters:
    return _Parameters._make((*tensors[:8], tuple(tensors[8:])))


def _without_autocast(backward: Callable[..., Any]) -> Callable[..., Any]:
    """Disable autocast in a backward pass that may be called inside an autocast region, as it was in the forward."""

    @wraps(backward)
    def call(ctx: Any, grad: Tensor) -> Any:
        with torch.autocast("cpu", enabled=False):
            return backward(ctx, grad)

    return call


class FocalModulationFunction(torch.autograd.Function):
    """The autograd function of focal modulation: input, options, then the parameters in the order of `_Parameters`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, options: _Options, *tensors: Tensor | None) -> Tensor:
        """Return the output and save what the backward pass needs."""
        out, saved = _forward(x, options, _parameters(tensors), save=True)
        ctx.options = options
        ctx.save_for_backward(*saved, x, *tensors)
        return out

    @staticmethod
    @_without_autocast
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        """Return a gradient, or None, for each argument of `forward`."""
        projections, aggregates, modulators, x, *tensors = ctx.saved_tensors
        saved = (projections, aggregates, modulators)
        needs_input_grad = (ctx.needs_input_grad[0], *ctx.needs_input_grad[2:])  # all but the options
        # With create_graph=True the gradients will be differentiated. vmap and forward-mode differentiation may begin
        # here, after an ordinary forward pass.
        if torch.is_grad_enabled() or not _runs_eagerly(grad):
            gradients = _plain_backward(grad, x, ctx.options, tensors, needs_input_grad)
        else:
            gradients = _backward(grad, saved, x, ctx.options, _parameters(tensors), needs_input_grad)
        return (gradients[0], None, *gradients[1:])


def _forward(x: Tensor, options: _Options, p: _Parameters, save: bool) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Compute focal modulation a chunk of images at a time.

    Args:
        x: The feature map, `(B, C, H, W)`.
        options: What is not a tensor.
        p: The parameters.
        save: Keep the intermediate tensors of all images; otherwise each chunk overwrites those of the previous one.

    Returns:
        The output, `(B, C, H, W)`, and the tensors to save for the backward pass: projections
        `(B, 2 * C + L + 1, H * W)`, aggregates and modulators, each `(B, C, H * W)`.
    """
    batch, channels, height, width = x.shape
    levels, area = len(p.focal_layers), height * width
    out = torch.empty_like(x)
    chunks = list(_image_chunks(x))
    allocated = batch if save else chunks[0].stop
    projections = x.new_empty(allocated, 2 * channels + levels + 1, area)
    aggregates, modulators = (x.new_empty(allocated, channels, area) for _ in range(2))
    for images in chunks:
        rows = images if save else slice(images.stop - images.start)
        projection, aggregate, modulator = projections[rows], aggregates[rows], modulators[rows]
        _linear(p.proj_in, p.proj_in_bias, x[images].flatten(2), projection)
        query, context, gates = torch.split(projection, [channels, channels, levels + 1], 1)
        for part in _channel_chunks(context, _FORWARD_CHANNEL_CHUNK):
            gated_sum, level_context = aggregate[:, part], context[:, part]
            for level, kernel in enumerate(p.focal_layers):
                level_context = F.gelu(_depthwise(level_context, kernel[part], height))
                if level == 0:
                    torch.mul(level_context, gates[:, :1], out=gated_sum)
                else:
                    gated_sum.addcmul_(level_context, gates[:, level : level + 1])
            gated_sum.addcmul_(F.gelu(level_context.mean(2, keepdim=True)), gates[:, levels:])
        if options.normalize_modulator:
            aggregate /= levels + 1
        _linear(p.h, p.h_bias, aggregate, modulator)
        modulated = torch.mul(query, modulator, out=None if save else aggregate)
        if p.ln is not None:
            modulated = _normalize(modulated, options, p)
        _linear(p.proj, p.proj_bias, modulated, out[images].flatten(2))
    return out, (projections, aggregates, modulators)


class _Gradients(dict[Any, Tensor]):
    """The gradients of the parameters that need one, by field of `_Parameters` and by level of `focal_layers`.

    A gradient is allocated when something is first added to it.

    Args:
        p: The parameters.
        needs_input_grad: Whether each parameter needs a gradient, in the order of `_Parameters`.
    """

    def __init__(self, p: _Parameters, needs_input_grad: Sequence[bool]) -> None:
        self.names = [*_Parameters._fields[:8], *range(len(p.focal_layers))]
        tensors: Iterator[Any] = zip(self.names, (*p[:8], *p.focal_layers))
        self._parameters = {name: tensor for (name, tensor), needed in zip(tensors, needs_input_grad) if needed}

    def __missing__(self, name: Any) -> Tensor:
        self[name] = torch.zeros_like(self._parameters[name])
        return self[name]

    def add(self, name: Any, gradient: Tensor, part: slice = slice(None)) -> None:
        """Add to a parameter's gradient, or to a part of it, where the parameter needs one."""
        if name in self._parameters:
            self[name][part] += gradient

    def add_linear(self, name: str, grad: Tensor, x: Tensor, outputs: slice = slice(None)) -> None:
        """Add the gradients of a 1x1 convolution's weight and bias.

        Args:
            name: The weight's field.
            grad: The gradient of the convolution's outputs, `(B, out, H * W)`.
            x: The convolution's input, `(B, in, H * W)`.
            outputs: The output channels that `grad` is for.
        """
        if name in self._parameters:
            self[name].flatten(1)[outputs].addbmm_(grad, x.transpose(1, 2))
        if f"{name}_bias" in self._parameters:
            self[f"{name}_bias"][outputs] += grad.sum((0, 2))


def _backward(
    grad: Tensor,
    saved: tuple[Tensor, ...],
    x: Tensor,
    options: _Options,
    p: _Parameters,
    needs_input_grad: tuple[bool, ...],
) -> list[Tensor | None]:
    """Compute the gradients of the input and of each parameter, None for those that need none.

    The gradients of the context levels, which take most memory, are computed as early as possible: before those of the
    1x1 convolutions' weights.

    Args:
        grad: The output's gradient, `(B, C, H, W)`.
        saved: What `_forward` saved.
        x: The input, `(B, C, H, W)`.
        options: What is not a tensor.
        p: The parameters.
        needs_input_grad: For the input, then for each parameter.
    """
    channels, height = x.shape[1:3]
    levels = len(p.focal_layers)
    gradients = _Gradients(p, needs_input_grad[1:])
    grad_x = None
    for images in _image_chunks(x):
        projection, aggregate, modulator = (tensor[images] for tensor in saved)
        query, context, gates = torch.split(projection, [channels, channels, levels + 1], 1)
        x_chunk, grad_out = x[images].flatten(2), grad[images].flatten(2)

        grad_modulated = torch.bmm(_transposed(p.proj, grad_out), grad_out)
        if p.ln is not None:
            grad_modulated = _norm_gradients(grad_modulated, query * modulator, options, p, gradients)
        grad_modulator = grad_modulated * query
        grad_aggregate = torch.bmm(_transposed(p.h, grad_modulator), grad_modulator)
        del grad_modulator
        if options.normalize_modulator:
            grad_aggregate /= levels + 1
        grad_context_gates = x.new_empty(len(x_chunk), channels + levels + 1, x_chunk.shape[2])
        grad_context, grad_gates = torch.split(grad_context_gates, [channels, levels + 1], 1)
        grad_gates.zero_()
        for part in _channel_chunks(context, _BACKWARD_CHANNEL_CHUNK):
            kernels = [kernel[part] for kernel in p.focal_layers]
            grad_kernels = _context_gradients(
                grad_aggregate[:, part], context[:, part], gates, height, kernels, grad_context[:, part], grad_gates
            )
            for level, gradient in enumerate(grad_kernels):
                gradients.add(level, gradient, part)
        del grad_aggregate

        modulated = query * modulator
        if p.ln is not None:
            modulated = _normalize(modulated, options, p)
        gradients.add_linear("proj", grad_out, modulated)
        gradients.add_linear("h", torch.mul(grad_modulated, query, out=modulated), aggregate)
        del modulated
        grad_query = grad_modulated.mul_(modulator)
        gradients.add_linear("proj_in", grad_query, x_chunk, slice(channels))
        gradients.add_linear("proj_in", grad_context_gates, x_chunk, slice(channels, None))
        if needs_input_grad[0]:
            if grad_x is None:
                grad_x = torch.empty_like(x)
            grad_x_chunk = grad_x[images].flatten(2)
            torch.bmm(_transposed(p.proj_in[:channels], grad_query), grad_query, out=grad_x_chunk)
            grad_x_chunk.baddbmm_(_transposed(p.proj_in[channels:], grad_context_gates), grad_context_gates)
    return [grad_x, *(gradients.get(name) for name in gradients.names)]


def _normalize(modulated: Tensor, options: _Options, p: _Parameters) -> Tensor:
    channels_last = modulated.transpose(1, 2)
    return F.layer_norm(channels_last, channels_last.shape[2:], p.ln, p.ln_bias, options.eps).transpose(1, 2)


def _norm_gradients(
    grad: Tensor, modulated: Tensor, options: _Options, p: _Parameters, gradients: _Gradients
) -> Tensor:
    """Add the LayerNorm's parameter gradients and return that of its input, the modulated query."""
    channels_last, shape = modulated.transpose(1, 2), modulated.shape[1:2]
    _, mean, rstd = torch.native_layer_norm(channels_last, shape, p.ln, p.ln_bias, options.eps)
    grad_input, grad_weight, grad_bias = torch.ops.aten.native_layer_norm_backward(
        grad.transpose(1, 2), channels_last, shape, mean, rstd, p.ln, p.ln_bias, [True, True, True]
    )
    gradients.add("ln", grad_weight)
    gradients.add("ln_bias", grad_bias)
    return grad_input.transpose(1, 2)  # type: ignore[no-any-return]


def _context_gradients(
    grad_aggregate: Tensor,
    context: Tensor,
    gates: Tensor,
    height: int,
    kernels: list[Tensor],
    grad_context: Tensor,
    grad_gates: Tensor,
) -> list[Tensor]:
    """Run the context levels of some channels backward; return the gradients of their kernels.

    Args:
        grad_aggregate: The aggregate's gradient, `(B, C, H * W)`.
        context: The input of the first level, `(B, C, H * W)`.
        gates: `(B, L + 1, H * W)`.
        height: H.
        kernels: The weight of each level, `(C, 1, k, k)`.
        grad_context: Receives the gradient of `context`; used as a buffer until then.
        grad_gates: `(B, L + 1, H * W)`; the gradient of `gates` is added to it.
    """
    levels = len(kernels)
    pre_activations, inputs = [], [context]  # for each level: the input of its GELU, and of its convolution
    for level, kernel in enumerate(kernels):
        pre_activations.append(_depthwise(inputs[-1], kernel, height))
        if level < levels - 1:
            inputs.append(F.gelu(pre_activations[-1]))
            grad_gates[:, level] += torch.mul(grad_aggregate, inputs[-1], out=grad_context).sum(1)
    # In float32, torch's GELU (2.15) writes wrong values to an `out` tensor that is not contiguous.
    contiguous = grad_context.is_contiguous()
    last = _gelu.out(pre_activations[-1], out=grad_context) if contiguous else F.gelu(pre_activations[-1])
    mean = last.mean(2, keepdim=True)
    grad_gates[:, levels - 1] += last.mul_(grad_aggregate).sum(1)
    grad_gates[:, levels:] += torch.bmm(F.gelu(mean).transpose(1, 2), grad_aggregate)
    grad_mean = _gelu_backward(torch.bmm(grad_aggregate, gates[:, levels:].transpose(1, 2)), mean)
    grad_output = grad_mean / context.shape[2]  # of a level, from everything but its own gate
    grad_kernels = []
    for level in reversed(range(levels)):
        torch.addcmul(grad_output, grad_aggregate, gates[:, level : level + 1], out=grad_context)
        pre_activation = pre_activations.pop()
        # Element by element, so the gradient may overwrite its own input.
        grad_pre_activation = _gelu_backward.grad_input(grad_context, pre_activation, grad_input=pre_activation)
        kernel = kernels[level]
        grad_kernels.append(_depthwise_weight_gradient(inputs.pop(), grad_pre_activation, height, kernel.shape[-1]))
        grad_output = _depthwise(grad_pre_activation, kernel.flip(2, 3), height)
    grad_context.copy_(grad_output)
    return grad_kernels[::-1]


def _plain_backward(
    grad: Tensor, x: Tensor, options: _Options, tensors: Sequence[Any], needs_input_grad: tuple[bool, ...]
) -> list[Tensor | None]:
    """Compute the same gradients as `_backward` by autograd through `equations.modulate`.

    The gradients can be differentiated again where gradients are enabled, and vectorized by vmap.
    """
    differentiable = torch.is_grad_enabled()
    with torch.enable_grad():
        # A view for each argument: two of them may share a tensor, or one may have been computed from another. The
        # gradient with respect to the view is this argument's alone; with respect to the tensor it would hold the
        # others' as well, and autograd, which adds up what we return for each argument, would count those twice.
        views: list[Any] = [None if tensor is None else tensor.view_as(tensor) for tensor in (x, *tensors)]
        p = _parameters(views[1:])

        def focal_layer(weight: Tensor, context: Tensor) -> Tensor:
            return F.gelu(F.conv2d(context, weight, padding=weight.shape[-1] // 2, groups=weight.shape[0]))

        ln = partial(F.layer_norm, normalized_shape=x.shape[1:2], weight=p.ln, bias=p.ln_bias, eps=options.eps)
        out = equations.modulate(
            views[0],
            partial(F.conv2d, weight=p.proj_in, bias=p.proj_in_bias),
            [partial(focal_layer, weight) for weight in p.focal_layers],
            partial(F.conv2d, weight=p.h, bias=p.h_bias),
            None if p.ln is None else ln,
            partial(F.conv2d, weight=p.proj, bias=p.proj_bias),
            normalize_modulator=options.normalize_modulator,
        )
        inputs = [view for view, needed in zip(views, needs_input_grad) if needed]
        gradients = iter(torch.autograd.grad(out, inputs, grad, create_graph=differentiable))
    return [next(gradients) if needed else None for needed in needs_input_grad]


def _image_chunks(x: Tensor) -> Iterator[slice]:
    return _slices(len(x), max(_IMAGE_CHUNK // x[0].numel(), 1))


def _channel_chunks(context: Tensor, elements: int) -> Iterator[slice]:
    # A multiple of 16, because the depthwise kernels process channels in blocks of 16.
    return _slices(context.shape[1], max(elements // context[:, 0].numel() // 16, 1) * 16)


def _slices(length: int, step: int) -> Iterator[slice]:
    return (slice(start, min(start + step, length)) for start in range(0, length, step))


def _matrices(weight: Tensor, x: Tensor) -> Tensor:
    """Expand a 1x1 convolution's weight to a matrix for each image of `x`, `(B, out, in)`."""
    return weight.flatten(1).expand(len(x), *weight.shape[:2])


def _transposed(weight: Tensor, x: Tensor) -> Tensor:
    return _matrices(weight.transpose(0, 1), x)


def _linear(weight: Tensor, bias: Tensor | None, x: Tensor, out: Tensor) -> None:
    """Write a 1x1 convolution of `x`, `(B, C, H * W)`, to `out`."""
    if bias is None:
        torch.bmm(_matrices(weight, x), x, out=out)
    else:
        torch.baddbmm(bias[:, None], _matrices(weight, x), x, out=out)


def _depthwise(x: Tensor, weight: Tensor, height: int) -> Tensor:
    """Convolve `(B, C, H * W)` with `(C, 1, k, k)`, "same" padding."""
    feature_map = x.view(*x.shape[:2], height, -1)
    return F.conv2d(feature_map, weight, padding=weight.shape[-1] // 2, groups=x.shape[1]).flatten(2)


def _depthwise_weight_gradient(x: Tensor, grad: Tensor, height: int, kernel: int) -> Tensor:
    """Compute a depthwise convolution's weight gradient, `(C, 1, k, k)`, as a depthwise convolution.

    Args:
        x: The convolution's input, `(B, C, H * W)`.
        grad: The gradient of its output, `(B, C, H * W)`.
        height: H.
        kernel: Kernel size k.
    """
    batch, channels = x.shape[:2]
    feature_map = x.reshape(1, batch * channels, height, -1)
    kernels = grad.reshape(batch * channels, 1, height, -1)
    per_image = F.conv2d(feature_map, kernels, padding=kernel // 2, groups=batch * channels)
    return per_image.view(batch, channels, 1, kernel, kernel).sum(0)
