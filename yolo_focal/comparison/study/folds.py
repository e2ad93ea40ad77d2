"""Cross-validation: splits the training images into folds, each of which is validated on once."""

from __future__ import annotations

import random
from pathlib import Path

import yaml

from yolo_focal.comparison.store.files import write
from yolo_focal.comparison.study.dataset import Dataset
from yolo_focal.errors import ConfigError


def write_folds(dataset: Dataset, count: int, seed: int, folder: Path) -> list[Path]:
    """Write a data YAML for each fold, with lists of the images to train on and to validate on.

    The folds of a seed are the same for every model and in every process.

    Args:
        dataset: The data set; its validation images take no part.
        count: Number of folds.
        seed: Of the order in which the images are dealt out.
        folder: Where to write the files.

    Returns:
        The YAML files.

    Raises:
        ConfigError: A classification set, whose classes are folders, or more folds than images.
    """
    images = dataset.splits["train"].images
    if dataset.task == "classify":
        raise ConfigError(
            f"folds={count}: it needs a data YAML; {dataset.name} is a folder of classes, leave folds= out"
        )
    if not 2 <= count <= len(images):
        raise ConfigError(
            f"folds={count}: write an integer from 2 to {len(images)}, the number of training images of {dataset.name}"
        )
    order = list(range(len(images)))
    random.Random(seed).shuffle(order)
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for fold in range(count):
        held_out = set(order[fold::count])
        chosen = {
            "train": [image for index, image in enumerate(images) if index not in held_out],
            "val": [image for index, image in enumerate(images) if index in held_out],
        }
        lists = {}
        for split, names in chosen.items():
            path = folder / f"seed{seed}-fold{fold}-{split}.txt"
            write(path, "".join(f"{Path(name).absolute()}\n" for name in names))
            lists[split] = str(path.absolute())
        other_keys = {key: value for key, value in dataset.other_keys.items() if key != "channels" or value != 3}
        content = {**lists, **other_keys, "names": dict(enumerate(dataset.names))}
        files.append(folder / f"seed{seed}-fold{fold}.yaml")
        write(files[-1], yaml.safe_dump(content, sort_keys=False, allow_unicode=True))
    return files


def test_fraction(count: int) -> float:
    """Return the number of images that are validated on in a fold, divided by that of those that are trained on."""
    return 1 / (count - 1)
