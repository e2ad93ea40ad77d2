"""FocalModulation and what is built of it; nothing here imports Ultralytics.

Checkpoints name the classes by this package, such as `yolo_focal.focal.FocalModulation`, whichever file defines them.
"""

from yolo_focal.focal.block import DropPath, FocalBlock, LayerScale, Mlp
from yolo_focal.focal.c2focal import C2Focal, C2FocalBlock
from yolo_focal.focal.c3k2focal import C3k2Focal, ShortcutBottleneck
from yolo_focal.focal.focalnet import FocalEmbed, FocalNet, FocalStage
from yolo_focal.focal.modulation import FocalModulation
from yolo_focal.focal.norm import FocalNorm

__all__ = [
    "C2Focal",
    "C2FocalBlock",
    "C3k2Focal",
    "DropPath",
    "FocalBlock",
    "FocalEmbed",
    "FocalModulation",
    "FocalNet",
    "FocalNorm",
    "FocalStage",
    "LayerScale",
    "Mlp",
    "ShortcutBottleneck",
]
