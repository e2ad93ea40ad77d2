"""The shapes data sets: synthetic images with labels for every task, drawn on first use."""

from yolo_focal.shapes.dataset import COUNTS, TASKS, draw

__all__ = ["COUNTS", "TASKS", "draw"]
