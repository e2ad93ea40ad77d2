"""What validations find on each image, and scores of any choice of images: equal to Ultralytics' own."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import few
import numpy as np
import pytest
import runs
from hypothesis import given, settings
from hypothesis import strategies as st
from simulate_bootstrap import scene, simulated, trained
from ultralytics import YOLO
from ultralytics.utils.metrics import ap_per_class

from yolo_focal.comparison.stats import ap_by_size, bootstrap
from yolo_focal.comparison.stats.average_precision import Scorer
from yolo_focal.comparison.stats.bootstrap import Resampled, over_images, resample
from yolo_focal.comparison.store import validations
from yolo_focal.comparison.store.run_folder import METRICS, RunSpec, validation_file
from yolo_focal.comparison.store.validations import Validation
from yolo_focal.comparison.worker import recorder, run
from yolo_focal.comparison.worker.recorder import Recorder
from yolo_focal.shapes import draw, scenes


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


def test_a_validation_is_kept_whole_or_not_at_all(tmp_path: Path) -> None:
    validation, file = simulated(np.random.default_rng(0), 5), tmp_path / "a.npz"
    validations.save(validation, file)
    loaded = validations.load(file)
    assert loaded is not None
    assert all(np.array_equal(ours, theirs) for ours, theirs in zip(validation, loaded, strict=True))
    whole = file.read_bytes()
    for length in range(0, len(whole), 13):
        file.write_bytes(whole[:length])
        assert validations.load(file) is None
    assert validations.load(tmp_path / "none.npz") is None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "model"),
    [
        ("detect", "yolov8n-focal.yaml"),
        ("segment", ""),
        ("pose", ""),
        ("obb", ""),
        ("classify", "yolov8n-cls.yaml"),
    ],
)
def test_what_is_recorded_scores_as_ultralytics_says(
    task: str, model: str, of_task: Callable[[str], Path], tmp_path: Path
) -> None:
    suffix = {"detect": "", "segment": "-seg", "pose": "-pose", "obb": "-obb"}.get(task)
    data = f"shapes{suffix}.yaml"
    if suffix is None:
        data = str(tmp_path / "shapes-cls")
        draw(data, "classify")
    kept: list[tuple[Validation, float]] = []
    yolo = YOLO(model or of_task(task))  # one that finds something

    def keep(found: Validation, validator: Any) -> None:
        kept.append((found, validator.metrics.results_dict[METRICS[task]]))

    Recorder(keep).attach(yolo)
    epochs = 5 if model else 1
    small = {"imgsz": 128, "batch": 8, "warmup_epochs": 0, "plots": False, "project": str(tmp_path)}
    yolo.train(data=data, epochs=epochs, fraction=0.4, **small)
    assert len(kept) == epochs + 1
    scores = [score for _, score in kept]
    assert max(scores) > 0
    for found, score in kept:
        assert Scorer(found, task).score() == pytest.approx(score, abs=1e-6)
        assert list(found.images) == list(kept[0][0].images) and len(found.images) == 120
    if task == "detect":
        boxes_are_in_pixels_of_the_image(kept[-1][0])


def boxes_are_in_pixels_of_the_image(found: Validation) -> None:
    """The labels of the shapes, 128 pixels wide, come back as they are, and right detections lie on them."""
    for index, name in enumerate(found.images[:20]):
        image = int(str(name).partition(".")[0])
        shapes = sorted(scenes.box(shape) for shape in scenes.scene("val", image)[1])
        recorded = sorted(map(tuple, found.target_boxes[found.target_image == index].tolist()))
        assert np.allclose(shapes, recorded, atol=0.01)
    for image, box in zip(found.image[found.correct[:, 0]], found.boxes[found.correct[:, 0]], strict=True):
        assert max(overlap(box, other) for other in found.target_boxes[found.target_image == image]) > 0.49


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    low, high = np.maximum(one[:2], other[:2]), np.minimum(one[2:], other[2:])
    shared = float(np.prod(np.maximum(high - low, 0)))
    return shared / (float(np.prod(one[2:] - one[:2])) + float(np.prod(other[2:] - other[:2])) - shared)


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


# Images without labels


def learnt(checkpoint: Path, folder: Path) -> Path:
    """Return a data set on whose shapes the checkpoint finds something, and four of whose images are empty."""
    few.draw(folder, train=2, val=12)
    for index in (1, 5, 6, 11):
        cv2.imwrite(str(folder / f"images/val/{index:04}.bmp"), np.full((128, 128, 3), 114, np.uint8))
        (folder / f"labels/val/{index:04}.txt").unlink()
    data = folder / "data.yaml"
    data.write_text(few.yaml_of(folder))
    shutil.copy(checkpoint, folder / "learnt.pt")
    return data


def leave_empty_images_out(validator: Any) -> None:
    """Let a validator add nothing for an image without labels and detections, as in Ultralytics 8.1.0 and 8.3.150."""
    update = validator.metrics.update_stats

    def update_unless_empty(stats: dict[str, Any]) -> None:
        if len(stats["conf"]) or len(stats["target_cls"]):
            update(stats)

    validator.metrics.update_stats = update_unless_empty


def validated(data: Path, recorder_of: Callable[[Any], Any], older: bool = True) -> float:
    """Validate with what `recorder_of` makes of the model, and return Ultralytics' score."""
    yolo = YOLO(data.with_name("learnt.pt"))
    if older:
        yolo.add_callback("on_val_start", leave_empty_images_out)
    recorder_of(yolo)
    own = {"imgsz": 128, "batch": 5, "workers": 0, "plots": False, "conf": 0.05, "project": str(data.parent)}
    return float(yolo.val(data=str(data), **own).box.map)


@pytest.mark.parametrize("older", [True, False])
def test_an_image_without_labels_and_detections_is_recorded_as_such(
    older: bool, checkpoint: Path, tmp_path: Path
) -> None:
    data, kept = learnt(checkpoint, tmp_path), []
    score = validated(data, Recorder(lambda found, _: kept.append(found)).attach, older)
    (found,) = kept
    assert [*found.images] == [f"{index:04}.bmp" for index in range(12)]
    assert {1, 5, 6, 11}.isdisjoint(found.target_image) and not {1, 5, 6, 11} <= {*found.image}
    assert {*found.target_image} == {*range(12)} - {1, 5, 6, 11}
    assert Scorer(found, "detect").score() == pytest.approx(score, abs=1e-6) and score > 0.05


def test_only_a_whole_record_with_ultralytics_own_score_is_kept(
    checkpoint: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = learnt(checkpoint, tmp_path)
    whole, cut, wrong = (tmp_path / f"{name}.npz" for name in ("whole", "cut", "wrong"))

    def keep(found: Validation, validator: Any) -> None:
        recorder.keep(found, validator, whole)
        recorder.keep(found._replace(images=found.images[:-1]), validator, cut)
        recorder.keep(found._replace(correct=~found.correct), validator, wrong)

    score = validated(data, Recorder(keep).attach)
    assert whole.exists() and not cut.exists() and not wrong.exists()
    said = [line for line in caplog.messages if "is not kept" in line]
    assert said[0].endswith(
        f"cut.npz is not kept: 11 of 12 images were recorded, with a score of {score:.4f}, where Ultralytics says "
        f"{score:.4f}"
    )
    assert re.search(r"wrong\.npz is not kept: 12 of 12 images were recorded, with a score of (?!nan)", said[1])


@pytest.mark.parametrize(("kept", "recorded", "mean"), [((2, 3, 4), True, 0.0), ((3, 4), False, 0.4), ((), False, 0.4)])
def test_the_last_epochs_score_is_that_of_all_records_or_of_the_curve(
    kept: tuple[int, ...], recorded: bool, mean: float, tmp_path: Path
) -> None:
    """The records say 0 and the curve 0.3, 0.4 and 0.5 of the last three of five epochs."""
    nothing_found = simulated(np.random.default_rng(0), 4)
    for epoch in kept:
        found = nothing_found._replace(correct=np.zeros_like(nothing_found.correct))
        validations.save(found, validation_file(tmp_path, epoch))
    task = RunSpec(
        model="m",
        data="d",
        seed=0,
        arguments={},
        threads=1,
        last_epochs=3,
        test=False,
        snapshot_every=0,
        metric=METRICS["detect"],
        place="",
        fingerprint="0",
    )
    result = runs.result(work={"epochs": 5})
    scores = run._last_scores(tmp_path, task, result, [0.1, 0.2, 0.3, 0.4, 0.5])
    assert (run._is_recorded(tmp_path, task, result), len(scores)) == (recorded, 3)
    assert np.mean(scores) == pytest.approx(mean)


# Over images


# On paper, by a table of Student's t. V is the variance of the mean over the seeds, W that over the draws, and f the
# degrees of freedom, (V + W)^2 / (V^2 / (seeds - 1) + W^2 / (images - 1)); the reach is the larger of t(f) sqrt(V + W)
# and t(seeds - 1) sqrt(V), with t(1) = 12.706, t(2) = 4.303, t(8) = 2.306, t(9) = 2.262 at 95 %.
@pytest.mark.parametrize(
    ("by_seed", "by_draw", "images", "reach"),
    [
        # V = 0.0008 / 2 = 0.0004, W = 0.0008, f = 0.0012^2 / (0.0004^2 / 1 + 0.0008^2 / 8) = 6: 12.706 * 0.02
        ([0.10, 0.14], [0.10, 0.14], 9, 0.2541),
        # V = 0, W = 0.0008, f = 9: 2.262 * 0.02828; a difference that all seeds have alike, on ten images
        ([0.12, 0.12], [0.10, 0.14], 10, 0.0640),
        # V = 0.0008 / 2, W = 0: 12.706 * 0.02; a difference that all images have alike
        ([0.10, 0.14], [0.12, 0.12], 10, 0.2541),
        # V = 0.0009 / 3 = 0.0003, W = 0.0009, f = 0.0012^2 / (0.0003^2 / 2 + 0.0009^2 / 6) = 8: 2.306 * 0.03464
        ([0.09, 0.12, 0.15], [0.09, 0.12, 0.15], 7, 0.0799),
        # V = 0.0003, W = 0.0001, f = 3.2: about 3.1 * 0.02 is less than 4.303 * 0.01732
        ([0.09, 0.12, 0.15], [0.11, 0.12, 0.13], 3, 0.0745),
    ],
)
def test_the_interval_over_images_is_the_one_on_paper(
    by_seed: list[float], by_draw: list[float], images: int, reach: float
) -> None:
    seeds = range(len(by_seed))
    first = Resampled(images, dict.fromkeys(seeds, 0.3), dict.fromkeys(seeds, np.full(len(by_draw), 0.3)))
    other = Resampled(
        images,
        {seed: 0.3 + apart for seed, apart in zip(seeds, by_seed, strict=True)},
        {seed: 0.3 + np.array(by_draw) for seed in seeds},
    )
    found = over_images(first, other)
    assert found is not None
    mean = sum(by_seed) / len(by_seed)
    assert (found.low, found.high) == pytest.approx((mean - reach, mean + reach), abs=2e-4)


def test_what_other_images_add_is_a_share_s_on_paper() -> None:
    """Of 16 images one model guesses 4 and the other those and 8 more: half of them, so that sd = sqrt(1 / 4 / 16)."""
    images, zeros, ones = np.arange(16, dtype=np.int32), np.zeros((16, 4), np.float32), np.ones(16, np.float32)

    def guessed(count: int) -> dict[int, list[Scorer]]:
        correct = (images < count)[:, None]
        found = Validation(np.array([*"abcdefghijklmnop"]), images, ones, images, correct, zeros, images, images, zeros)
        return {seed: [Scorer(found, "classify")] for seed in range(2)}

    found = over_images(*resample([guessed(4), guessed(12)]))
    assert found is not None
    assert found.deviation == pytest.approx(0.125, rel=0.08)  # of 1,000 draws
    reach = 2.131 * found.deviation  # t(15); the seeds are alike
    assert (found.low, found.high) == pytest.approx((0.5 - reach, 0.5 + reach), abs=1e-3)


@pytest.mark.slow
def test_what_other_images_add_is_what_a_bootstrap_of_the_mean_gives() -> None:
    rng = np.random.default_rng(0)
    first = {seed: [Scorer(simulated(rng, 40), "detect")] for seed in range(3)}
    other = {seed: [Scorer(simulated(rng, 40, skill=0.9), "detect")] for seed in range(3)}
    found = over_images(*resample([first, other]))
    assert found is not None
    apart = [other[seed][0].score() - first[seed][0].score() for seed in range(3)]
    assert found.low < np.mean(apart) < found.high
    by_seeds = bootstrap.stats.t.isf(0.025, 2) * np.std(apart, ddof=1) / np.sqrt(3)
    assert found.high - np.mean(apart) >= by_seeds - 1e-12
    assert (found.high + found.low) / 2 == pytest.approx(np.mean(apart))
    draws = []
    for _ in range(300):
        weights = np.bincount(rng.integers(40, size=40), minlength=40).astype(float)
        draws.append(np.mean([other[s][0].score(weights) - first[s][0].score(weights) for s in range(3)]))
    assert found.deviation == pytest.approx(np.std(draws), rel=0.15)
    assert over_images(*resample([first, {0: other[0]}])) is None
    on_fewer = {seed: [Scorer(simulated(rng, 40 - seed), "detect")] for seed in range(3)}
    assert over_images(*resample([first, on_fewer])) is None
    assert over_images(*resample([on_fewer, on_fewer])) is None


@pytest.mark.slow
def test_a_model_with_itself_differs_on_no_images() -> None:
    rng = np.random.default_rng(0)
    scorers = {seed: [Scorer(simulated(rng, 20), "detect")] for seed in range(3)}
    found = over_images(*resample([scorers, scorers]))
    assert found is not None
    assert (found.low, found.high) == (0, 0)


@pytest.mark.slow
def test_the_interval_covers_the_true_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulated detectors whose skill varies with the seed, on new images each time."""
    monkeypatch.setattr(bootstrap, "_RESAMPLES", 100)
    rng = np.random.default_rng(1)
    truth = np.subtract(
        *(np.mean([s.score() for s in trained(rng, scene(rng, 1000), skill, 4)]) for skill in (0.7, 0.6))
    )
    covered, times = 0, 30
    for _ in range(times):
        images = scene(rng, 40)
        first, other = ({s: [x] for s, x in enumerate(trained(rng, images, skill, 4))} for skill in (0.6, 0.7))
        found = over_images(*resample([first, other]))
        assert found is not None
        covered += found.low < truth < found.high
    assert covered >= 25  # fewer than 25 of 30 have a probability below 1 % at 95 %
