"""What scripts/benchmark.py compares: modules and networks of this package, and those that they stand beside."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable
from functools import partial
from typing import Any

import onnxruntime
import timm
import torch
from timm.models.focalnet import FocalModulation as TimmFocalModulation
from torch import Tensor, nn
from transformers import FocalNetConfig, FocalNetModel
from transformers.models.focalnet.modeling_focalnet import FocalNetModulation
from ultralytics import YOLO
from ultralytics.nn.modules import SPPF, C2f, Conv

from yolo_focal import FocalModulation, collection
from yolo_focal.focal import FocalEmbed, FocalNorm, FocalStage

Modules = dict[str, nn.Module]  # ours, then those that it is compared with
NETS = {"tiny": (96, (2, 2, 6, 2)), "base": (128, (2, 2, 18, 2))}  # channels, depths
# What each module of the collection replaces; for those that keep their channels, the layer that stands at the end of
# the backbone.
STANDS_FOR: dict[str, Callable[[int], nn.Module]] = {
    **dict.fromkeys(("EMA", "MSDA", "CAFM", "MSFN"), lambda c: SPPF(c, c, 5)),
    **dict.fromkeys(("ODConv", "DySnakeConv"), lambda c: Conv(c, c, 3)),
    "DynamicConv": lambda c: Conv(c, c, 1),
    **dict.fromkeys(("C2fDynamic", "C2fSnake"), lambda c: C2f(c, c, 1, True)),
}


class Adapted(nn.Module):
    """A module of transformers, whose input and output are made those of the others."""

    def __init__(self, module: nn.Module, before: Callable[[Tensor], Tensor], after: Callable[[Any], Tensor]) -> None:
        super().__init__()
        self.module, self.before, self.after = module, before, after

    def forward(self, x: Tensor) -> Tensor:
        """Return the module's map."""
        return self.after(self.module(self.before(x)))


def focal_modulations(dim: int) -> Modules:
    """Return FocalModulation and what it is compared with."""
    theirs = FocalNetModulation(FocalNetConfig(focal_levels=[2], focal_windows=[7]), 0, dim)  # takes channels last
    transformers = Adapted(theirs, lambda x: x.permute(0, 2, 3, 1), lambda y: y.permute(0, 3, 1, 2))
    others = {"timm": TimmFocalModulation(dim, 7, 2), "transformers": transformers, "SPPF": SPPF(dim, dim, 5)}
    return {"ours": FocalModulation(dim), **others}


def of_collection(name: str, dim: int) -> Modules:
    """Return a module of the collection and what it stands for."""
    given = (dim, dim, 1, True) if name.startswith("C2f") else (dim,) * (1 + ("Conv" in name))
    theirs = STANDS_FOR[name](dim)
    return {name: getattr(collection, name)(*given), type(theirs).__name__: theirs}


def focal_nets(name: str) -> Modules:
    """Return a FocalNet of each library, up to its last norm."""
    channels, depths = NETS[name]
    widths = [3, *(channels * 2**stage for stage in range(4))]
    layers = [
        layer
        for stage, ((c1, c2), depth) in enumerate(zip(itertools.pairwise(widths), depths, strict=True))
        for layer in (FocalEmbed(c1, c2, 2 if stage else 4), FocalStage(c2, depth, focal_level=3))
    ]
    theirs = timm.create_model(f"focalnet_{name}_lrf", num_classes=0, global_pool="", drop_path_rate=0.0)
    ours = nn.Sequential(*layers, FocalNorm(widths[-1]))
    shape = {"embed_dim": channels, "hidden_sizes": widths[1:], "depths": [*depths], "drop_path_rate": 0.0}
    config = FocalNetConfig(focal_levels=[3] * 4, focal_windows=[3] * 4, **shape)
    adapted = Adapted(FocalNetModel(config, add_pooling_layer=False), lambda x: x, lambda y: y.last_hidden_state)
    return {"ours": ours, "timm": theirs, "transformers": adapted}


def export(config: str, folder: str, **arguments: Any) -> str:
    """Export a model to an ONNX file in a folder, and return its path."""
    YOLO(config).save(f"{folder}/model.pt")
    return str(YOLO(f"{folder}/model.pt").export(format="onnx", verbose=False, **arguments))


def session(config: str, size: int, image: Tensor) -> Callable[[], object]:
    """Export a model to ONNX and return a call that runs it on an image."""
    with tempfile.TemporaryDirectory() as folder:
        return runs(opened(export(config, folder, imgsz=size)), image)


def opened(file: str) -> onnxruntime.InferenceSession:
    """Open an ONNX file with as many threads as PyTorch has."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])


def runs(opened: onnxruntime.InferenceSession, image: Tensor) -> Callable[[], object]:
    """Return a call that runs a session on an image."""
    return partial(opened.run, None, {"images": image.numpy()})
