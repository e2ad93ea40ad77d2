"""Fits a layer to the output of the one that it replaces: a warm start from unlabelled images."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from ultralytics.utils import TQDM

from yolo_focal import images
from yolo_focal.twin.initialization import initialize
from yolo_focal.twin.layers import Maps, observe

_MIN_STEPS = 600  # with few images fewer steps lose more than they save
_STEPS_PER_IMAGE = 16  # until there are `_STEPS`
_STEPS = 1500  # with 94 to 500 images
_STEPS_PER_IMAGE_OF_MANY = 3
_MAX_STEPS = 4500
_BATCH = 16
_LEARNING_RATE = 3e-3  # maximum of the one-cycle schedule
_VIEWS = 1600  # views of all images together, or two of each image if that is more
_VIEWS_PER_IMAGE = 32  # at most: more views of the same images are too alike
_MEMORY = 2 << 30  # limit for the feature maps, in bytes
_HELD_OUT = 16  # every 16th image is held out from the fit
_POINTS = 30  # points of the loss curve
_FLAT = 5  # the curve is flat if this many points are less than 1 % below all points before them
_HASTE = 4  # where it is flat, the rest of the schedule runs this many times as fast
_INITIAL_VIEWS = 32  # views of each size for the least-squares initialisation


class Point(NamedTuple):
    """A point of a layer's loss curve: mean squared error as a fraction of the variance of the old layer's output.

    Attributes:
        layer: The layer's index.
        step: Number of steps taken.
        fitted: Loss on the training views, averaged over the steps since the previous point.
        held_out: Loss on held-out letterboxed images; NaN if there are fewer than 16 images, so that none is held out.
    """

    layer: int
    step: int
    fitted: float
    held_out: float


def fit(original: Any, layers: dict[int, nn.Module], files: list[Path], imgsz: int) -> list[Point]:
    """Fit each layer to the output of the original's layer of the same index.

    Only these layers change: also training the layers that read them made the network worse on unseen images.

    Args:
        original: The trained network, in evaluation mode.
        layers: Index of a layer -> the FocalModulation to fit, or several in sequence, or the C2Focal or C3k2Focal;
            changed in place.
        files: The images to run the original on; they need no labels.
        imgsz: The network's input size in pixels.

    Returns:
        The points of the layers' loss curves.

    Raises:
        ConfigError: A file cannot be read as an image.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(max(1, (os.cpu_count() or 1) - 1))  # one core stays free for whatever else runs
    try:
        return _fit(original, layers, files, imgsz)
    finally:
        torch.set_num_threads(threads)


def explained(curve: list[Point]) -> list[str]:
    """Return a line for each layer of a curve: what it explains of the old one's output on held-out images."""
    last = {point.layer: point.held_out for point in curve}
    return [f"layer {layer}: {_in_words(loss)}" for layer, loss in last.items()]


def _in_words(unexplained: float) -> str:
    if math.isnan(unexplained):
        return f"how well it fits other images is not known: of fewer than {_HELD_OUT} none were held out"
    if unexplained < 1:
        return f"explains {1 - unexplained:.1%} of the old layer's variance on images that were held out from the fit"
    return (
        f"explains nothing of the old layer's output: on images that were held out from the fit its mean squared error "
        f"is {unexplained:.1f} times the variance"
    )


def _fit(original: Any, layers: dict[int, nn.Module], files: list[Path], imgsz: int) -> list[Point]:
    held_out = files[::_HELD_OUT] if len(files) >= _HELD_OUT else []
    train = sorted({*files} - {*held_out})
    stride = int(max(original.stride))
    # A first batch, of the full size, shows how many views fit into memory: inputs and outputs, 2 bytes an element.
    sample = _record(original, list(layers), images.views(train, imgsz, stride, 1))
    bytes_per_view = sum(2 * 2 * maps[0][0][0].numel() for maps in sample.values())
    wanted = max(min(_VIEWS, _VIEWS_PER_IMAGE * len(train)), 2 * len(train))
    count = min(wanted, max(_MEMORY // bytes_per_view, images.BATCH))
    batches = images.views(train, imgsz, stride, count)
    # Bars are closed also when Ctrl-C ends the work: what the command then says starts on a line of its own.
    with TQDM(batches, total=-(-count // images.BATCH), desc="Running the original") as views:
        train_maps = _record(original, list(layers), views)
    held_out_maps = _record(original, list(layers), images.letterboxed(held_out, imgsz))
    steps = _count_steps(len(train))
    return [
        point
        for index, layer in layers.items()
        for point in _fit_layer(index, layer, original.model[index], train_maps[index], held_out_maps[index], steps)
    ]


def _count_steps(count: int) -> int:
    """Return how many steps a fit to so many images takes."""
    few = min(_STEPS, max(_MIN_STEPS, _STEPS_PER_IMAGE * count))
    return max(few, min(_MAX_STEPS, _STEPS_PER_IMAGE_OF_MANY * count))


def _record(original: Any, indices: list[int], batches: Iterable[Tensor]) -> dict[int, Maps]:
    """Run the original up to the last of some layers and return the inputs and outputs of each of them."""
    recorded: dict[int, dict[int, list[tuple[Tensor, Tensor]]]] = {index: {} for index in indices}

    def record(layer: Any, inputs: tuple[Any, ...], output: Any) -> None:
        of_this_size = recorded[layer.i].setdefault(inputs[0].shape[-1], [])
        of_this_size.append((inputs[0].cpu().bfloat16(), output.cpu().bfloat16()))

    observe(original, indices, batches, record)
    return {
        index: [(torch.cat([x for x, _ in maps]), torch.cat([y for _, y in maps])) for maps in by_size.values()]
        for index, by_size in recorded.items()
    }


def _fit_layer(
    index: int, layer: nn.Module, old: nn.Module, train_maps: Maps, held_out_maps: Maps, steps: int
) -> list[Point]:
    """Initialise a layer, then train it to the old layer's output by mean squared error; return its loss curve.

    The curve has `_POINTS` points, or fewer if the loss on the held-out images no longer falls, so that the rest of the
    learning rate's schedule runs faster.
    """
    device = next(old.parameters()).device
    initialize(layer, old, [(x[:_INITIAL_VIEWS], y[:_INITIAL_VIEWS]) for x, y in train_maps], device)
    variance = _variance(train_maps)
    parameters = list(layer.parameters())
    for parameter in parameters:
        parameter.requires_grad_(True)
    optimizer = torch.optim.AdamW(parameters, lr=_LEARNING_RATE, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _LEARNING_RATE, total_steps=steps, pct_start=0.1)
    views_per_size = torch.tensor([float(len(x)) for x, _ in train_maps])
    generator = torch.Generator().manual_seed(0)
    losses: list[float] = []
    curve: list[Point] = []
    step = scheduled = 0
    with TQDM(total=steps, desc=f"Fitting layer {index}") as bar:
        while scheduled < steps:
            step += 1
            maps = train_maps[int(torch.multinomial(views_per_size, 1, generator=generator))]
            batch = torch.randperm(len(maps[0]), generator=generator)[:_BATCH]
            x, y = (m[batch].to(device).float() for m in maps)
            loss = F.mse_loss(layer(x), y) / variance
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            losses.append(loss.item())
            if step % (steps // _POINTS) == 0:
                curve.append(Point(index, step, sum(losses) / len(losses), _unexplained(layer, held_out_maps, device)))
                held_out = {"on_held_out": f"{curve[-1].held_out:.3f}"} if held_out_maps else {}
                bar.set_postfix(unexplained=f"{curve[-1].fitted:.3f}", **held_out)
                losses.clear()
            ahead = min(_HASTE if _is_flat(curve) else 1, steps - scheduled)
            for _ in range(ahead):
                schedule.step()
            scheduled += ahead
            bar.update(ahead)
    return curve


def _is_flat(curve: list[Point]) -> bool:
    """Return whether the loss on the held-out images has stopped falling; False without such images."""
    losses = [point.held_out for point in curve]
    return len(losses) > _FLAT and min(losses[-_FLAT:]) > 0.99 * min(losses[:-_FLAT])


def _unexplained(layer: nn.Module, maps: Maps, device: torch.device) -> float:
    """Return a layer's mean squared error as a fraction of the outputs' variance; NaN without maps."""
    if not maps:
        return math.nan
    with torch.no_grad():
        errors = [F.mse_loss(layer(x.to(device).float()), y.to(device).float()).item() * y.numel() for x, y in maps]
    return sum(errors) / sum(y.numel() for _, y in maps) / _variance(maps)


def _variance(maps: Maps) -> float:
    return torch.cat([y.flatten() for _, y in maps]).float().var().item()
