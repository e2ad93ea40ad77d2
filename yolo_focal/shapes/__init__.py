"""The shapes data sets: synthetic images with labels for every task, drawn on first use."""

from yolo_focal.shapes.dataset import COUNTS, MARK, TASKS, draw

__all__ = ["COUNTS", "MARK", "TASKS", "draw"]
