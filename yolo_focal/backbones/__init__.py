"""Backbones of other libraries as one row of a model; knows nothing of Ultralytics."""

from yolo_focal.backbones.timm import Timm, TimmMap

__all__ = ["Timm", "TimmMap"]
