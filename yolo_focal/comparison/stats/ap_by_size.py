"""The average precision of small, medium and large objects, by COCO's definition."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np

from yolo_focal.comparison.store.validations import Validation

# COCO's areas: below 32 x 32 pixels of the original image, below 96 x 96, and above.
SIZES = ("small", "medium", "large")
TASKS = frozenset({"detect", "segment", "pose"})  # whose boxes are upright


def average_precisions(validation: Validation) -> dict[str, float]:
    """Return AP50-95 of the boxes by size of object; {} without faster-coco-eval, and no entry without objects."""
    try:
        from faster_coco_eval import COCO, COCOeval_faster
    except ImportError:
        return {}
    truth, found = as_coco(validation)
    if not truth["annotations"] or not found:
        return {}
    with contextlib.redirect_stdout(io.StringIO()):
        objects = COCO(truth)
        evaluation = COCOeval_faster(objects, objects.loadRes(found), "bbox", print_function=lambda *_: None)
        evaluation.run()
    # COCO gives -1 where there is no object of a size.
    values = zip(SIZES, evaluation.stats[3:6], strict=True)
    return {size: float(value) for size, value in values if value >= 0}


def as_coco(validation: Validation) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the labelled objects and the detections in COCO's format."""
    truth = {
        "images": [{"id": index} for index in range(len(validation.images))],
        "categories": [{"id": int(cls)} for cls in np.unique([*validation.target_cls, *validation.cls])],
        "annotations": [
            {**_annotation(image, cls, box), "id": number, "iscrowd": 0}
            for number, (image, cls, box) in enumerate(
                zip(validation.target_image, validation.target_cls, validation.target_boxes, strict=True), 1
            )
        ],
    }
    found = [
        {**_annotation(image, cls, box), "score": float(confidence)}
        for image, cls, box, confidence in zip(
            validation.image, validation.cls, validation.boxes, validation.confidence, strict=True
        )
    ]
    return truth, found


def _annotation(image: Any, cls: Any, box: Any) -> dict[str, Any]:
    left, top, right, bottom = map(float, box)
    sides = [left, top, right - left, bottom - top]
    return {"image_id": int(image), "category_id": int(cls), "bbox": sides, "area": sides[2] * sides[3]}
