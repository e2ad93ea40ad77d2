"""Measure what a warm start keeps of a detector's accuracy on pictures that the fit has not seen.

python scripts/measure_warm_start.py model=yolov8n.pt data=my.yaml [folds=5]

All images of the data set, training and validation, are dealt into folds. For each fold the focal twin is fitted to the
images of the other folds, without their labels, and both networks predict the fold. In the end mAP50-95 is taken over
all images at once, as each class has too few boxes in a fold of a small set.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
import yaml
from ultralytics import YOLO
from ultralytics.data.utils import check_det_dataset
from ultralytics.models.yolo.detect import DetectionValidator
from ultralytics.utils.metrics import ap_per_class

from yolo_focal import pictures
from yolo_focal.checkpoint import derive_checkpoint

Array = npt.NDArray[np.float64]
PARTS = ("tp", "conf", "pred_cls", "target_cls")


def main(model: str, data: str, folds: str = "5") -> None:
    """Print a line for each fold, then one for all images."""
    dataset = check_det_dataset(data)
    files = [file for split in ("train", "val") for file in pictures.find(dataset[split])]
    found: dict[str, list[dict[str, Array]]] = {"before": [], "after": []}
    for fold in range(int(folds)):
        with tempfile.TemporaryDirectory() as work:
            unseen = files[fold :: int(folds)]
            seen = [file for file in files if file not in unseen]
            folder, listed, config, twin = (Path(work, name) for name in ("seen", "val.txt", "data.yaml", "twin.pt"))
            folder.mkdir()
            for number, file in enumerate(seen):
                (folder / f"{number}{file.suffix}").symlink_to(file.resolve())
            listed.write_text("\n".join(str(file.resolve()) for file in unseen))
            config.write_text(yaml.safe_dump({"train": str(listed), "val": str(listed), "names": dataset["names"]}))
            start = time.perf_counter()
            derive_checkpoint(model, twin, str(folder))
            seconds = time.perf_counter() - start
            for when, file in (("before", model), ("after", twin)):
                found[when].append(predictions(file, config))
        fitted = f"fold {fold + 1}: fitted to {len(seen)} images in {seconds:.0f} s"
        print(f"{fitted}; on {len(unseen)} others {change(*(results[-1:] for results in found.values()))}", flush=True)
    print(f"all {len(files)} images: {change(*found.values())}")


def predictions(model: str | Path, data: Path) -> dict[str, Array]:
    """Validate and return what average precision is computed from: the matches, scores and classes of all boxes."""
    kept: dict[str, Array] = {}

    class Keeping(DetectionValidator):  # type: ignore[misc]
        def get_stats(self) -> dict[str, float]:
            kept.update({part: np.concatenate(self.metrics.stats[part]) for part in PARTS})
            stats: dict[str, float] = super().get_stats()
            return stats

    YOLO(model).val(validator=Keeping, data=str(data), plots=False, verbose=False)
    return kept


def change(*before_and_after: list[dict[str, Array]]) -> str:
    """Write mAP50-95 before and after, and its share."""
    before, after = (
        ap_per_class(*(np.concatenate([result[part] for result in results]) for part in PARTS))[5].mean()
        for results in before_and_after
    )
    return f"{before:.3f} -> {after:.3f} ({after / before:.1%})"


if __name__ == "__main__":
    main(**dict(argument.split("=", 1) for argument in sys.argv[1:]))
