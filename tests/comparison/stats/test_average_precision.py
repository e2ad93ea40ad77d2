"""Scores of any choice of images and of objects by their size: equal to Ultralytics' and to COCO's own."""

from __future__ import annotations

import numpy as np
import pytest
from comparison.boxes import overlap
from hypothesis import given, settings
from hypothesis import strategies as st
from simulate_bootstrap import simulated
from ultralytics.utils.metrics import ap_per_class

from yolo_focal.comparison.stats import ap_by_size
from yolo_focal.comparison.stats.average_precision import Scorer
from yolo_focal.comparison.store.validations import Validation


def by_ultralytics(validation: Validation, weights: np.ndarray) -> float:
    """Compute mAP50-95 of a data set in which each image is there as often as its weight."""
    detections = np.repeat(np.arange(len(validation.image)), weights[validation.image])
    targets = np.repeat(np.arange(len(validation.target_image)), weights[validation.target_image])
    if not len(targets):
        return float("nan")
    ap = ap_per_class(
        validation.correct[detections],
        validation.confidence[detections],
        validation.cls[detections],
        validation.target_cls[targets],
    )[5]
    return float(ap.mean())


@settings(deadline=None, max_examples=150)
@given(st.integers(0, 10_000), st.integers(1, 30), st.integers(1, 4))
def test_any_choice_of_images_scores_as_ultralytics_scores_it(seed: int, images: int, classes: int) -> None:
    """To 1e-6: a detection that is there twice is two steps of Ultralytics' curve and one of ours."""
    rng = np.random.default_rng(seed)
    validation = simulated(rng, images, classes)
    for weights in (np.ones(images, int), np.bincount(rng.integers(images, size=images), minlength=images)):
        ours = Scorer(validation, "detect").score(weights.astype(float))
        assert ours == pytest.approx(by_ultralytics(validation, weights), abs=1e-6, nan_ok=True)


def test_a_classification_is_scored_by_its_accuracy() -> None:
    correct = np.array([[True], [False], [True], [True]])
    images, zeros = np.arange(4, dtype=np.int32), np.zeros((4, 4), np.float32)
    ones = np.ones(4, np.float32)
    validation = Validation(np.array(list("abcd")), images, ones, images, correct, zeros, images, images, zeros)
    scorer = Scorer(validation, "classify")
    assert scorer.score() == 0.75
    assert scorer.score(np.array([0.0, 3.0, 1.0, 0.0])) == 0.25


def test_sizes_are_cocos() -> None:
    """Objects of 20, 50 and 200 pixels; the large ones alone are found exactly."""
    sides = np.array([20, 50, 200])
    boxes = np.array([[10, 10, 10 + side, 10 + side] for side in sides], np.float32)
    images, cls = np.arange(3, dtype=np.int32), np.zeros(3, np.int32)
    found = boxes.copy()
    found[:2] += 300
    empty = np.zeros((3, 10), bool)
    validation = Validation(
        np.array(list("abc")), images, np.ones(3, np.float32), cls, empty, found, images, cls, boxes
    )
    assert ap_by_size.average_precisions(validation) == {"small": 0.0, "medium": 0.0, "large": pytest.approx(1.0)}


def test_coco_s_own_evaluation_agrees_but_for_its_interpolation() -> None:
    """faster-coco-eval takes the precision at 101 recalls, Ultralytics the area under the line through them."""
    rng = np.random.default_rng(0)
    boxes, found, targets, owners = [], [], [], []
    for image in range(60):
        for _ in range(2):
            x, y = rng.uniform(0, 400, 2)
            w, h = rng.uniform(30, 200, 2)
            targets.append((image, [x, y, x + w, y + h]))
            if rng.random() < 0.8:
                shift = rng.normal(0, 4, 4)
                boxes.append((image, np.array([x, y, x + w, y + h]) + shift, rng.beta(4, 2)))
        boxes.append((image, np.array([0, 0, *rng.uniform(20, 60, 2)]), rng.beta(1, 4)))
    target_boxes = np.array([box for _, box in targets], np.float32)
    target_image = np.array([image for image, _ in targets], np.int32)
    order = sorted(boxes, key=lambda entry: -entry[2])
    correct = np.zeros((len(order), 10), bool)
    for threshold in range(10):
        taken: set[int] = set()
        for index, (image, box, _) in enumerate(order):
            ious = {j: overlap(box, target_boxes[j]) for j in np.flatnonzero(target_image == image) if j not in taken}
            best = max(ious, key=ious.__getitem__, default=None)
            if best is not None and ious[best] >= 0.5 + 0.05 * threshold:
                taken.add(best)
                correct[index, threshold] = True
    image = np.array([entry[0] for entry in order], np.int32)
    zeros = np.zeros(len(order), np.int32)
    found = np.array([entry[1] for entry in order], np.float32)
    owners = np.zeros(len(targets), np.int32)
    confidence = np.array([entry[2] for entry in order], np.float32)
    validation = Validation(
        np.array([f"{n:02}" for n in range(60)]),
        image,
        confidence,
        zeros,
        correct,
        found,
        target_image,
        owners,
        target_boxes,
    )
    from faster_coco_eval import COCO, COCOeval_faster

    truth, results = ap_by_size.as_coco(validation)
    evaluation = COCOeval_faster(COCO(truth), COCO(truth).loadRes(results), "bbox", print_function=lambda *_: None)
    evaluation.run()
    assert Scorer(validation, "detect").score() == pytest.approx(evaluation.stats[0], abs=0.006)
