"""What validations find on each image is recorded whole, and scores as Ultralytics says."""

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
from comparison.boxes import overlap
from simulate_bootstrap import simulated
from ultralytics import YOLO

from yolo_focal.comparison.stats.average_precision import Scorer
from yolo_focal.comparison.store import validations
from yolo_focal.comparison.store.run_folder import METRICS, RunSpec, validation_file
from yolo_focal.comparison.store.validations import Validation
from yolo_focal.comparison.worker import recorder, run
from yolo_focal.comparison.worker.recorder import Recorder
from yolo_focal.shapes import draw, scenes


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
        ablations=[],
        place="",
        fingerprint="0",
    )
    result = runs.result(work={"epochs": 5})
    scores = run._last_scores(tmp_path, task, result, [0.1, 0.2, 0.3, 0.4, 0.5])
    assert (run._is_recorded(tmp_path, task, result), len(scores)) == (recorded, 3)
    assert np.mean(scores) == pytest.approx(mean)
