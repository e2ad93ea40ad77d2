"""Shows what FocalModulation computes on pictures: goes over them and leaves a figure and the arrays of each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from torch import nn
from ultralytics.utils import LOGGER, RUNS_DIR, TQDM
from ultralytics.utils.files import increment_path

from yolo_focal import checkpoint, heatmaps, maps, pictures
from yolo_focal.errors import ConfigError
from yolo_focal.focal import FocalModulation


def visualize(model: Any, source: str | Path, layer: int | str | None = None) -> Path:
    """Draw the modulator, the gates and the contexts of a FocalModulation (paper section 3.2) over pictures.

    Each picture is padded to a square of the training's `imgsz` pixels, as in validation. It leaves two files of its
    name: `.png`, which shows the maps over the picture, and `.npz` with the arrays, the numbers in float32:

    - `modulator_norm`, `(H, W)`: the modulator's norm over the channels;
    - `gates`, `(L + 1, H, W)`: of the L focal levels and, last, the global one;
    - `context_norms`, `(L + 1, H, W)`: the norm over the channels of each level's context, the global one last;
    - `inside`, `(4,)`: where the picture is in the square: top, bottom, left and right, in pixels;
    - `imgsz`, `()`: the side of the square, which the H x W positions cover, in pixels.

    Args:
        model: A checkpoint's path, or Ultralytics' `YOLO` of any task, which is left as it was.
        source: A picture, or a folder of pictures.
        layer: The index of the FocalModulation, or its name where it stands inside of another module, such as "9.0";
            by default the first.

    Returns:
        The folder of the files: `visualize`, among Ultralytics' runs, or the first such name with a number that is
        free. Pictures of folders below the source are in folders below it.

    Raises:
        ConfigError: The model is no checkpoint or has no such layer, or the source has no picture or a broken one.
    """
    files, names = _pictures(Path(source))
    yolo, called = _load(model)
    network: nn.Module = yolo.model
    name, module = _choose(network, called, layer)
    for file in files:  # a broken one is named before the first is drawn, which takes much longer than to read them all
        pictures.read(file)
    side = int(np.max(yolo.overrides.get("imgsz", 640)))
    folder = Path(increment_path(RUNS_DIR / "visualize"))
    for file, stem in zip(TQDM(files, desc=f"Drawing layer {name}"), names):
        picture = pictures.read(file)
        square, inside = pictures.pad(picture, side), pictures.inside(picture, side)
        found = maps.compute(network, module, pictures.batch([square]))
        out = folder / stem
        out.parent.mkdir(parents=True, exist_ok=True)
        np.savez(
            f"{out}.npz",
            modulator_norm=found.modulator_norm.numpy(),
            gates=found.gates.numpy(),
            context_norms=found.context_norms.numpy(),
            inside=np.array([edge for part in inside for edge in (part.start, part.stop)]),
            imgsz=np.array(side),
        )
        heatmaps.draw(square, inside, found, f"FocalModulation, layer {name}", Path(f"{out}.png"))
    LOGGER.info(f"Results saved to {folder}")
    return folder


def _pictures(source: Path) -> tuple[list[Path], list[str]]:
    """Return the pictures and the names of what they leave."""
    if not source.exists():
        raise ConfigError(f"source={source}: there is no such file or folder; write a picture or a folder of pictures")
    files = [source] if source.is_file() else pictures.find(source, "source")
    root = source.parent if source.is_file() else source
    names = [file.relative_to(root) for file in files]
    short = [str(name.with_suffix("")) for name in names]
    # Where there are bus.jpg and bus.png, one would overwrite what the other leaves.
    return files, short if len({*short}) == len(short) else [str(name) for name in names]


def _load(model: Any) -> tuple[Any, str]:
    """Return Ultralytics' `YOLO` and what to call it in messages."""
    called = str(model)
    if isinstance(model, (str, Path)):
        if Path(model).suffix != ".pt":
            raise ConfigError(f"model={model}: write a checkpoint, such as runs/detect/train/weights/best.pt")
        model = checkpoint.load(called)
    elif not isinstance(getattr(model, "model", None), nn.Module) or not hasattr(model, "overrides"):
        raise ConfigError(f"model={type(model).__name__}: write a checkpoint's path or an ultralytics.YOLO of one")
    else:
        called = str(model.overrides.get("model", type(model).__name__))
    channels = model.model.yaml.get("channels", model.model.yaml.get("ch", 3))
    if channels != 3:
        raise ConfigError(f"model={called}: it takes {channels} channels, and only RGB pictures are drawn on")
    return model, called


def _choose(network: Any, called: str, layer: int | str | None) -> tuple[str, FocalModulation]:
    """Return a FocalModulation and its name: its index in the model, or where in it the module stands."""
    there = {name: module for name, module in network.model.named_modules() if isinstance(module, FocalModulation)}
    if not there:
        raise ConfigError(
            f"model={called}: it has no FocalModulation; make a twin that has one with "
            f"yolo-focal derive model={called} images=FOLDER"
        )
    name = next(iter(there)) if layer is None else str(layer)
    if name not in there:
        raise ConfigError(f"layer={layer}: that is no FocalModulation; write layer= with one of {', '.join(there)}")
    others = [other for other in there if other != name]
    if layer is None and others:
        LOGGER.info(f"Layer {name} is drawn; layer= draws another FocalModulation: {', '.join(others)}")
    return name, there[name]
