"""Measure how much of a detector's accuracy a warm start keeps on images that it was not fitted to.

python scripts/experiments/measure_warm_start.py model=yolov8n.pt data=my.yaml [folds=5]

Cross-validation: all images of the data set, training and validation, are divided into folds. For each fold the focal
twin is fitted to the images of the other folds, without their labels, and both networks predict the fold. In the end
mAP50-95 is computed over all images at once, because a fold of a small data set has too few boxes of each class.
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

from yolo_focal import images
from yolo_focal.twin.checkpoint import derive_checkpoint

Array = npt.NDArray[np.float64]
PARTS = ("tp", "conf", "pred_cls", "target_cls")


def main(model: str, data: str, folds: str = "5") -> None:
    """Print a line for each fold, then one for all images."""
    dataset = check_det_dataset(data)
    files = [file for split in ("train", "val") for file in images.find(dataset[split])]
    statistics: dict[str, list[dict[str, Array]]] = {"before": [], "after": []}
    for fold in range(int(folds)):
        with tempfile.TemporaryDirectory() as work:
            held_out = files[fold :: int(folds)]
            train = [file for file in files if file not in held_out]
            folder, listing, config, twin = (Path(work, name) for name in ("train", "val.txt", "data.yaml", "twin.pt"))
            folder.mkdir()
            for index, file in enumerate(train):
                (folder / f"{index}{file.suffix}").symlink_to(file.resolve())
            listing.write_text("\n".join(str(file.resolve()) for file in held_out))
            config.write_text(yaml.safe_dump({"train": str(listing), "val": str(listing), "names": dataset["names"]}))
            start = time.perf_counter()
            derive_checkpoint(model, twin, str(folder))
            seconds = time.perf_counter() - start
            for key, file in (("before", model), ("after", twin)):
                statistics[key].append(predictions(file, config))
        print(f"fold {fold + 1}: fitted to {len(train)} images in {seconds:.0f} s; on {len(held_out)} others ", end="")
        print(change(*(results[-1:] for results in statistics.values())), flush=True)
    print(f"all {len(files)} images: {change(*statistics.values())}")


def predictions(model: str | Path, data: Path) -> dict[str, Array]:
    """Validate; return the arrays that average precision is computed from: matches, scores and classes of all boxes."""
    recorded: dict[str, Array] = {}

    class RecordingValidator(DetectionValidator):
        def get_stats(self) -> dict[str, float]:
            recorded.update({part: np.concatenate(self.metrics.stats[part]) for part in PARTS})
            return super().get_stats()

    YOLO(model).val(validator=RecordingValidator, data=str(data), plots=False, verbose=False)
    return recorded


def change(*before_and_after: list[dict[str, Array]]) -> str:
    """Format mAP50-95 before and after, and their ratio."""
    before, after = (
        ap_per_class(*(np.concatenate([result[part] for result in results]) for part in PARTS))[5].mean()
        for results in before_and_after
    )
    return f"{before:.3f} -> {after:.3f} ({after / before:.1%})"


if __name__ == "__main__":
    main(**dict(argument.split("=", 1) for argument in sys.argv[1:]))
