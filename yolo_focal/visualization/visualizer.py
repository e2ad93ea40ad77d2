"""`yolo_focal.visualize`: writes a figure and the arrays of a FocalModulation's maps for each of some images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from torch import nn
from ultralytics.utils import LOGGER, RUNS_DIR, TQDM
from ultralytics.utils.files import increment_path

from yolo_focal import images
from yolo_focal.errors import ConfigError
from yolo_focal.focal import FocalModulation
from yolo_focal.hook import checkpoints, configs
from yolo_focal.visualization import heatmaps, maps


def visualize(model: Any, source: str | Path, layer: int | str | None = None) -> Path:
    """Draw the modulator, the gates and the contexts of a FocalModulation (paper, section 3.2) over images.

    Each image is padded to a square of the training's `imgsz` pixels, as in validation. Two files are written for it
    under its name: `.png` shows the maps over the image, and `.npz` contains the arrays, float32 except the last two:

    - `modulator_norm`, `(H, W)`: norm of the modulator over the channels;
    - `gates`, `(L + 1, H, W)`: gates of the L focal levels and, last, of the global average;
    - `context_norms`, `(L + 1, H, W)`: norms over the channels of the contexts, in the same order;
    - `inside`, `(4,)`: position of the image in the square: top, bottom, left and right, in pixels;
    - `imgsz`, `()`: side of the square, which the H x W positions cover, in pixels.

    Args:
        model: Path of a checkpoint, or an Ultralytics `YOLO` of any task, which is not changed.
        source: An image file or a folder of images.
        layer: Index of the FocalModulation in the model, or its name if it is inside another module, such as "9.0"; by
            default the first.

    Returns:
        The folder of the files: `visualize` in Ultralytics' runs folder, with a number appended if it exists. Images
        from subfolders of the source are in subfolders of the same name.

    Raises:
        ConfigError: The model is not a checkpoint or has no such layer, or the source has no image or an unreadable
            one.
    """
    files, names = _find_images(Path(source))
    yolo, model_name = _load(model)
    network: nn.Module = yolo.model
    name, module = _choose(network, model_name, layer)
    for file in files:  # report an unreadable image before drawing starts, which takes much longer than reading
        images.read(file)
    side = int(np.max(yolo.overrides.get("imgsz", 640)))
    folder = Path(increment_path(RUNS_DIR / "visualize"))
    for file, stem in zip(TQDM(files, desc=f"Drawing layer {name}"), names, strict=True):
        image = images.read(file)
        square, inside = images.pad(image, side), images.inside(image, side)
        image_maps = maps.compute(network, module, images.batch([square]))
        out = folder / stem
        out.parent.mkdir(parents=True, exist_ok=True)
        np.savez(
            f"{out}.npz",
            modulator_norm=image_maps.modulator_norm.numpy(),
            gates=image_maps.gates.numpy(),
            context_norms=image_maps.context_norms.numpy(),
            inside=np.array([edge for part in inside for edge in (part.start, part.stop)]),
            imgsz=np.array(side),
        )
        heatmaps.draw(square, inside, image_maps, f"FocalModulation, layer {name}", Path(f"{out}.png"))
    LOGGER.info(f"Results saved to {folder}")
    return folder


def _find_images(source: Path) -> tuple[list[Path], list[str]]:
    """Return the image files and the names of their output files, without suffix."""
    if not source.exists():
        raise ConfigError(f"source={source}: there is no such file or folder; write an image or a folder of images")
    files = [source] if source.is_file() else images.find(source, "source")
    root = source.parent if source.is_file() else source
    names = [file.relative_to(root) for file in files]
    stems = [str(name.with_suffix("")) for name in names]
    # If there are both bus.jpg and bus.png, the suffix is part of the name, so that their outputs differ.
    return files, stems if len({*stems}) == len(stems) else [str(name) for name in names]


def _load(model: Any) -> tuple[Any, str]:
    """Return the model as Ultralytics' `YOLO`, and its name for messages."""
    model_name = str(model)
    if isinstance(model, (str, Path)):
        if Path(model).suffix != ".pt":
            raise ConfigError(f"model={model}: write a checkpoint, such as runs/detect/train/weights/best.pt")
        model = checkpoints.load(model_name)
    elif not isinstance(getattr(model, "model", None), nn.Module) or not hasattr(model, "overrides"):
        raise ConfigError(f"model={type(model).__name__}: write a checkpoint's path or an ultralytics.YOLO of one")
    else:
        model_name = str(model.overrides.get("model", type(model).__name__))
    channels = configs.input_channels(model.model.yaml)
    if channels != 3:
        raise ConfigError(f"model={model_name}: it takes {channels} channels, and only RGB images are drawn on")
    return model, model_name


def _choose(network: Any, model_name: str, layer: int | str | None) -> tuple[str, FocalModulation]:
    """Return the name of a FocalModulation in the network, such as "9" or "9.0", and the module.

    Args:
        network: The network.
        model_name: The model's name, for messages.
        layer: The module's index or name; by default the first FocalModulation.

    Raises:
        ConfigError: There is no FocalModulation, or none of that name.
    """
    modules = {name: module for name, module in network.model.named_modules() if isinstance(module, FocalModulation)}
    if not modules:
        raise ConfigError(
            f"model={model_name}: it has no FocalModulation; make a twin that has one with "
            f"yolo-focal derive model={model_name} images=FOLDER"
        )
    name = next(iter(modules)) if layer is None else str(layer)
    if name not in modules:
        raise ConfigError(f"layer={layer}: that is no FocalModulation; write layer= with one of {', '.join(modules)}")
    others = [other for other in modules if other != name]
    if layer is None and others:
        LOGGER.info(f"Layer {name} is drawn; layer= draws another FocalModulation: {', '.join(others)}")
    return name, modules[name]
