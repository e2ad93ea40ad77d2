"""Fits FocalModulation to what the module that it replaces computes on pictures: a warm start that needs no labels."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from ultralytics.nn.modules import SPP, SPPF
from ultralytics.utils import TQDM

from yolo_focal import pictures
from yolo_focal.graft import pass_through

_STEPS = 1500
_BATCH = 16
_LEARNING_RATE = 3e-3  # the peak of a one-cycle schedule
_VIEWS = 1600  # of all pictures together, or two of each picture where that is more
_MEMORY = 2 << 30  # bytes that the feature maps may take
_HELD_OUT = 16  # one picture in so many is kept back for the curve
_POINTS = 30  # of the curve
_STARTING = 32  # views of each size that the start is computed from

# What a layer gets and what it gives: an entry for each size, (B, C, H, W), in bfloat16, which has float32's range.
Maps = list[tuple[Tensor, Tensor]]


class Point(NamedTuple):
    """A point of a layer's curve, in shares of its outputs' variance that the fit leaves unexplained.

    Attributes:
        layer: The layer's index.
        step: Steps taken.
        fitted: On what the fit sees, a mean over the steps since the last point.
        held_out: On whole pictures that it does not see; NaN where there are too few to keep one back.
    """

    layer: int
    step: int
    fitted: float
    held_out: float


def fit(original: Any, layers: dict[int, nn.Module], files: list[Path], imgsz: int) -> list[Point]:
    """Fit each layer to what the original's layer of the same index computes.

    Nothing but these layers changes: letting those that read them learn too made the network worse on pictures that
    the fit had not seen.

    Args:
        original: The trained network, in evaluation mode.
        layers: Index of a layer -> the FocalModulation to fit, or several in sequence; changed in place.
        files: The pictures to run the original on; they need no labels.
        imgsz: The network's input size in pixels.

    Returns:
        The layers' curves.

    Raises:
        ConfigError: A file is no picture.
    """
    torch.set_num_threads(os.cpu_count() or 1)  # Ultralytics leaves a core free for its data loader
    held_out = files[::_HELD_OUT] if len(files) >= _HELD_OUT else []
    kept = sorted({*files} - {*held_out})
    stride = int(max(original.stride))
    probe = _run(original, list(layers), pictures.views(kept, imgsz, stride, 1))
    bytes_a_view = sum(2 * 2 * maps[0][0][0].numel() for maps in probe.values())
    count = min(max(_VIEWS, 2 * len(kept)), max(_MEMORY // bytes_a_view, pictures.BATCH))
    views = TQDM(
        pictures.views(kept, imgsz, stride, count), total=-(-count // pictures.BATCH), desc="Running the original"
    )
    seen = _run(original, list(layers), views)
    unseen = _run(original, list(layers), pictures.whole(held_out, imgsz))
    return [
        point
        for index, layer in layers.items()
        for point in _fit_one(index, layer, original.model[index], seen[index], unseen[index])
    ]


class _Enough(Exception):  # noqa: N818  not an error: it ends a forward pass early
    pass


@torch.no_grad()
def _run(original: Any, indices: list[int], batches: Iterable[Tensor]) -> dict[int, Maps]:
    """Run the original up to the last of the layers and keep what each of them gets and gives."""
    found: dict[int, dict[int, list[tuple[Tensor, Tensor]]]] = {index: {} for index in indices}

    def keep(layer: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        by_size = found[layer.i].setdefault(inputs[0].shape[-1], [])
        by_size.append((inputs[0].cpu().bfloat16(), output.cpu().bfloat16()))
        if layer.i == max(indices):
            raise _Enough

    device = next(original.parameters()).device
    hooks = [original.model[index].register_forward_hook(keep) for index in indices]
    try:
        for batch in batches:
            with contextlib.suppress(_Enough):
                original(batch.to(device))
    finally:
        for hook in hooks:
            hook.remove()
    return {
        index: [(torch.cat([x for x, _ in maps]), torch.cat([y for _, y in maps])) for maps in by_size.values()]
        for index, by_size in found.items()
    }


def _fit_one(index: int, layer: nn.Module, old: nn.Module, seen: Maps, unseen: Maps) -> Iterator[Point]:
    device = next(old.parameters()).device
    _start(layer, old, [(x[:_STARTING], y[:_STARTING]) for x, y in seen], device)
    variance = _variance(seen)
    parameters = list(layer.parameters())
    for parameter in parameters:
        parameter.requires_grad_(True)
    optimizer = torch.optim.AdamW(parameters, lr=_LEARNING_RATE, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _LEARNING_RATE, total_steps=_STEPS, pct_start=0.1)
    shares = torch.tensor([float(len(x)) for x, _ in seen])
    generator = torch.Generator().manual_seed(0)
    losses = []
    bar = TQDM(range(1, _STEPS + 1), desc=f"Fitting layer {index}")
    for step in bar:
        maps = seen[int(torch.multinomial(shares, 1, generator=generator))]
        picked = torch.randperm(len(maps[0]), generator=generator)[:_BATCH]
        x, y = (m[picked].to(device).float() for m in maps)
        loss = F.mse_loss(layer(x), y) / variance
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        if step % (_STEPS // _POINTS) == 0:
            point = Point(index, step, sum(losses) / len(losses), _share(layer, unseen, device))
            bar.set_postfix(unexplained=f"{point.fitted:.3f}", on_held_out=f"{point.held_out:.3f}")
            yield point
            losses.clear()


@torch.no_grad()
def _start(layer: nn.Module, old: Any, maps: Maps, device: torch.device) -> None:
    """Set a layer to what least squares can tell without a step of training; the output projection is the identity.

    An SPPF's output is SiLU(z) = sigmoid(z) * z, which has FocalModulation's form: the query is fitted to sigmoid(z),
    and the modulator, whose context is the SPPF's own first convolution, to z. For any other module the query is near
    1, and the modulator is fitted to the output.
    """
    modules: list[Any] = list(layer) if isinstance(layer, nn.Sequential) else [layer]
    *before, new = modules
    for module in before:
        pass_through(module)
    inputs = [x.to(device).float() for x, _ in maps]
    query = slice(0, new.dim)
    if isinstance(old, (SPP, SPPF)):
        _read_the_same_context(new, old)
        wanted = _outputs(old.cv2.bn, old, inputs)
        new.proj_in.weight[query, :, 0, 0], new.proj_in.bias[query] = _least_squares(
            inputs, [z.sigmoid() for z in wanted]
        )
    else:
        wanted = [y.to(device).float() for _, y in maps]
        new.proj_in.bias[query] = 1
    contexts: list[Tensor] = []
    hook = new.h.register_forward_pre_hook(lambda _, inputs: contexts.append(inputs[0]))
    for x in inputs:
        new(x)
    hook.remove()
    new.h.weight[:, :, 0, 0], new.h.bias[:] = _least_squares(contexts, wanted)
    new.proj.weight.copy_(torch.eye(new.dim)[:, :, None, None])
    new.proj.bias.zero_()


def _read_the_same_context(new: Any, old: Any) -> None:
    """Let the levels read what an SPPF pools: once as it is, once averaged over 5x5, larger and all positions."""
    first: Any = fuse_conv_bn_eval(old.cv1.conv, old.cv1.bn)
    dim, half = new.dim, first.out_channels
    new.proj_in.weight.mul_(0.1)  # small, but not zero, so that training can tell the channels apart
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
    """Run a module and return what a part of it gives."""
    outputs: list[Tensor] = []
    hook = part.register_forward_hook(lambda *args: outputs.append(args[-1]))
    for x in inputs:
        module(x)
    hook.remove()
    return outputs


def _least_squares(inputs: list[Tensor], outputs: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Return weight, `(out, in)`, and bias of the 1x1 convolution that comes nearest to `outputs` (ridge, 1e-3)."""
    x, y = (torch.cat([m.permute(0, 2, 3, 1).flatten(0, 2) for m in maps]) for maps in (inputs, outputs))
    x = torch.cat([x, x.new_ones(len(x), 1)], dim=1)
    gram = x.T @ x
    gram += 1e-3 * gram.diagonal().mean() * torch.eye(len(gram), device=x.device)
    solution = torch.linalg.solve(gram, x.T @ y)
    return solution[:-1].T, solution[-1]


def _share(layer: nn.Module, maps: Maps, device: torch.device) -> float:
    """Return the share of the outputs' variance that a layer leaves unexplained."""
    if not maps:
        return math.nan
    with torch.no_grad():
        errors = [F.mse_loss(layer(x.to(device).float()), y.to(device).float()).item() * y.numel() for x, y in maps]
    return sum(errors) / sum(y.numel() for _, y in maps) / _variance(maps)


def _variance(maps: Maps) -> float:
    return torch.cat([y.flatten() for _, y in maps]).float().var().item()
