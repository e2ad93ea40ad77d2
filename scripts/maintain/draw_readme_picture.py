"""Draw the README's figure: the boxes of the quick start's model on validation images of the shapes data set.

python scripts/maintain/draw_readme_picture.py model=runs/detect/train/weights/best.pt [save=docs/predictions.jpg]
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
from ultralytics import YOLO

from yolo_focal.shapes import scenes

ROWS, COLUMNS, ZOOM = 2, 5, 2


def main(model: str, save: str = "docs/predictions.jpg") -> None:
    """Predict on the first images of the validation split and tile the results."""
    yolo = YOLO(model)
    tiles = []
    for index in range(ROWS * COLUMNS):
        image, _ = scenes.scene("val", index)
        result = yolo.predict(image, imgsz=scenes.SIZE, verbose=False)[0]
        larger = cv2.resize(image, None, fx=ZOOM, fy=ZOOM, interpolation=cv2.INTER_NEAREST)
        boxes = result.boxes.data.clone()
        boxes[:, :4] *= ZOOM
        result.orig_img, result.orig_shape = larger, larger.shape[:2]
        result.update(boxes=boxes)
        tiles.append(result.plot(line_width=2, font_size=11))
    grid = np.vstack([np.hstack(tiles[r * COLUMNS : (r + 1) * COLUMNS]) for r in range(ROWS)])
    Path(save).parent.mkdir(exist_ok=True)
    cv2.imwrite(save, grid)
    print(f"{save}: {grid.shape[1]} x {grid.shape[0]} pixels")


if __name__ == "__main__":
    main(**dict(argument.split("=", 1) for argument in sys.argv[1:]))
