"""Copy data sets with at most 128 training images each, drawn at random with seed 0; their validation images stay.

python scripts/experiments/modules_over_sets/draw_sets.py FROM TO

FROM has a folder with a `data.yaml`, `images/train` and `labels/train` for each data set.
"""

from __future__ import annotations

import random
import shutil
import sys
from pathlib import Path

IMAGES = 128


def main(source: str, target: str) -> None:
    """Copy the sets and print how many training images each has."""
    for folder in sorted(path.parent for path in Path(source).glob("*/data.yaml")):
        copy = Path(target, folder.name)
        shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("*.cache"))
        images = sorted((copy / "images/train").iterdir())
        for image in sorted(set(images) - set(random.Random(0).sample(images, min(IMAGES, len(images))))):
            image.unlink()
            (copy / "labels/train" / image.with_suffix(".txt").name).unlink(missing_ok=True)
        print(f"{folder.name}: {min(IMAGES, len(images))} of {len(images)} training images", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
