"""Initialises a new layer with what the old one has in common with it, before it is fitted to the old one's output."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from ultralytics.nn.modules import SPP, SPPF

from yolo_focal.focal import C2Focal, C2FocalBlock, C3k2Focal
from yolo_focal.twin.graft import keep_all_but_attention, pass_through
from yolo_focal.twin.layers import Maps


@torch.no_grad()
def initialize(layer: nn.Module, old: Any, maps: Maps, device: torch.device) -> None:
    """Initialise a layer without a training step.

    A FocalModulation by least squares, with the identity as its output projection; a C2Focal or C3k2Focal with what
    means the same in the old layer, and with statistics of its BatchNorms that are those of the inputs.

    An SPPF's output is SiLU(z) = sigmoid(z) * z, a product like that of query and modulator: the query is fitted to
    sigmoid(z) and the modulator to z, with the SPPF's first convolution as the context. For any other module, and for
    an SPPF that adds its input as YOLO26's does, the query starts near 1 and the modulator is fitted to the output.

    Args:
        layer: The C2Focal, C3k2Focal or FocalModulation, or several of the last in sequence, of which all but the last
            become the identity.
        old: The module that it replaces.
        maps: Inputs and outputs of `old`.
        device: Where to compute.
    """
    if isinstance(layer, (C2Focal, C3k2Focal)):
        keep_all_but_attention(layer, old)
        _calibrate(layer, [x.to(device).float() for x, _ in maps])
        return
    modules: list[Any] = list(layer) if isinstance(layer, nn.Sequential) else [layer]
    *before, new = modules
    for module in before:
        pass_through(module)
    inputs = [x.to(device).float() for x, _ in maps]
    query = slice(0, new.dim)
    if isinstance(old, (SPP, SPPF)):
        _copy_context(new, old)
    if isinstance(old, (SPP, SPPF)) and not getattr(old, "add", False):
        targets = _outputs(old.cv2.bn, old, inputs)
        new.proj_in.weight[query, :, 0, 0], new.proj_in.bias[query] = _least_squares(
            inputs, [z.sigmoid() for z in targets]
        )
    else:
        targets = [y.to(device).float() for _, y in maps]
        new.proj_in.bias[query] = 1
    aggregates: list[Tensor] = []  # the inputs of h, which projects them to the modulator
    hook = new.h.register_forward_pre_hook(lambda _, inputs: aggregates.append(inputs[0]))
    for x in inputs:
        new(x)
    hook.remove()
    new.h.weight[:, :, 0, 0], new.h.bias[:] = _least_squares(aggregates, targets)
    new.proj.weight.copy_(torch.eye(new.dim)[:, :, None, None])
    new.proj.bias.zero_()


def _calibrate(layer: nn.Module, inputs: list[Tensor]) -> None:
    """Set the statistics of a layer's BatchNorms to those of some inputs, and the factors of its branches to 1.

    At 0, where a new layer's are, the branches would learn nothing but the factors.
    """
    norms = [part for part in layer.modules() if isinstance(part, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in _ends(layer):
        nn.init.ones_(norm.weight)
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean over all inputs
    layer.train()
    for x in inputs:
        layer(x)
    layer.eval()
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


def _ends(layer: nn.Module) -> list[Any]:
    """Return the BatchNorms whose weights are the factors of a layer's branches."""
    blocks: list[Any] = [part for part in layer.modules() if isinstance(part, C2FocalBlock)]
    return [*(block.focal.bn for block in blocks), *([layer.join.bn] if isinstance(layer, C2Focal) else [])]


def _copy_context(new: Any, old: Any) -> None:
    """Initialise the context projection and the focal levels with what an SPPF pools.

    Both halves of the context channels are the output of the SPPF's first convolution. The first level passes one half
    through and averages the other over 5x5 positions; the other levels and the global one average over larger windows.
    """
    first: Any = fuse_conv_bn_eval(old.cv1.conv, old.cv1.bn)
    dim, half = new.dim, first.out_channels
    new.proj_in.weight.mul_(0.1)  # small but not zero: channels with equal weights would get equal gradients
    new.proj_in.weight[dim : 2 * dim] = first.weight.repeat(2, 1, 1, 1)[:dim]
    new.proj_in.bias[dim : 2 * dim] = first.bias.repeat(2)[:dim]
    new.proj_in.bias[2 * dim :] = torch.tensor([1.0] + [0.3] * new.focal_level)
    kernels = [level[0].weight.mul_(0.1) for level in new.focal_layers]
    middle = kernels[0].shape[-1] // 2
    kernels[0][:half, 0, middle, middle] = 1
    kernels[0][half:, 0, middle - 2 : middle + 3, middle - 2 : middle + 3] += 1 / 25
    for kernel in kernels[1:]:
        kernel += 1 / kernel[0].numel()


def _outputs(part: nn.Module, module: nn.Module, inputs: list[Tensor]) -> list[Tensor]:
    """Run a module on each input and return the outputs of one of its submodules."""
    outputs: list[Tensor] = []
    hook = part.register_forward_hook(lambda *args: outputs.append(args[-1]))
    for x in inputs:
        module(x)
    hook.remove()
    return outputs


def _least_squares(inputs: list[Tensor], outputs: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Fit a 1x1 convolution by ridge regression; return its weight, `(out, in)`, and bias, `(out,)`.

    The penalty is 1e-3 times the mean of the Gram matrix's diagonal.
    """
    x, y = (torch.cat([m.permute(0, 2, 3, 1).flatten(0, 2) for m in maps]) for maps in (inputs, outputs))
    x = torch.cat([x, x.new_ones(len(x), 1)], dim=1)
    gram = x.T @ x
    gram += 1e-3 * gram.diagonal().mean() * torch.eye(len(gram), device=x.device)
    solution = torch.linalg.solve(gram, x.T @ y)
    return solution[:-1].T, solution[-1]
