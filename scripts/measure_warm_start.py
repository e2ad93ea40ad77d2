"""Measure what a warm start keeps of a checkpoint's accuracy on pictures that the fit has not seen.

python scripts/measure_warm_start.py model=yolov8n.pt data=my.yaml [folds=5]

All images of the data set, training and validation, are dealt into folds. For each fold the focal twin is fitted to the
images of the other folds, without their labels, and both networks are validated on the fold.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from statistics import mean

import yaml
from ultralytics import YOLO
from ultralytics.data.utils import check_det_dataset

from yolo_focal import pictures
from yolo_focal.checkpoint import derive_checkpoint


def main(model: str, data: str, folds: str = "5") -> None:
    """Print a line for each fold, then the means."""
    dataset = check_det_dataset(data)
    splits = [dataset[split] for split in ("train", "val")]
    files = [file for folder in splits for file in pictures.find(folder)]
    rows = []
    for fold in range(int(folds)):
        with tempfile.TemporaryDirectory() as work:
            seen = Path(work, "seen")
            seen.mkdir()
            unseen = files[fold :: int(folds)]
            for number, file in enumerate(sorted(set(files) - set(unseen))):
                (seen / f"{number}{file.suffix}").symlink_to(file.resolve())
            listed, config, twin = Path(work, "val.txt"), Path(work, "data.yaml"), Path(work, "twin.pt")
            listed.write_text("\n".join(str(file.resolve()) for file in unseen))
            config.write_text(yaml.safe_dump({"train": str(listed), "val": str(listed), "names": dataset["names"]}))
            start = time.perf_counter()
            derive_checkpoint(model, twin, str(seen))
            seconds = time.perf_counter() - start
            before, after = (YOLO(m).val(data=str(config), plots=False, verbose=False).fitness for m in (model, twin))
        rows.append((before, after))
        share = f"{before:.3f} -> {after:.3f} ({after / before:.1%})"
        fitted = f"fitted to {len(files) - len(unseen)} images in {seconds:.0f} s"
        print(f"fold {fold + 1}: {fitted}; on {len(unseen)} others {share}", flush=True)
    before, after = (mean(column) for column in zip(*rows))
    print(f"all folds: {before:.3f} -> {after:.3f} ({after / before:.1%})")


if __name__ == "__main__":
    main(**dict(argument.split("=", 1) for argument in sys.argv[1:]))
