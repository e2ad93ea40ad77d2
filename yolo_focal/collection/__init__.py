"""Modules that people swap into YOLO beside FocalModulation, each from its paper; knows nothing of Ultralytics."""

from yolo_focal.collection.cafm import CAFM
from yolo_focal.collection.dynamic import C2fDynamic, DynamicConv
from yolo_focal.collection.ema import EMA
from yolo_focal.collection.msda import MSDA
from yolo_focal.collection.msfn import MSFN
from yolo_focal.collection.odconv import ODConv
from yolo_focal.collection.snake import C2fSnake, DySnakeConv

__all__ = ["CAFM", "EMA", "MSDA", "MSFN", "C2fDynamic", "C2fSnake", "DySnakeConv", "DynamicConv", "ODConv"]
