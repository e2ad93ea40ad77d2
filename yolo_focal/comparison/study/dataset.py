"""The data of a comparison, as Ultralytics reads them: images, labels, splits, and a digest of them."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

from ultralytics.data.base import BaseDataset
from ultralytics.data.utils import IMG_FORMATS, check_cls_dataset, check_det_dataset, img2label_paths

from yolo_focal.errors import ConfigError, one_line

SPLITS = ("train", "val", "test")


class Label(NamedTuple):
    """What is labelled on an image.

    Attributes:
        content: Digest of its label file, "-" for one that is missing; of a classification set, the name of its class.
        boxes: Number of label rows of each class index that occurs.
    """

    content: str
    boxes: dict[int, int]


class Split(NamedTuple):
    """The images of a split, in Ultralytics' order.

    Attributes:
        images: Their files; a file of a list may be missing.
        labels: What is labelled on each.
    """

    images: list[str]
    labels: list[Label]

    @property
    def boxes(self) -> dict[int, int]:
        """Number of label rows of each class index that occurs."""
        return dict(sum((Counter(label.boxes) for label in self.labels), Counter[int]()))


class Dataset(NamedTuple):
    """A data set.

    Attributes:
        name: What the user wrote.
        task: The task that it is read for.
        names: Names of the classes, by index.
        splits: `train`, `val` and, where there is one, `test`.
        other_keys: What else of the YAML changes results, such as `kpt_shape`.
    """

    name: str
    task: str
    names: list[str]
    splits: dict[str, Split]
    other_keys: dict[str, Any]


def read(data: str, task: str) -> Dataset:
    """Read a data set with Ultralytics' own readers.

    Raises:
        ConfigError: There is no such data set, or it has no training or no validation images.
    """
    try:
        found = check_cls_dataset(data) if task == "classify" else check_det_dataset(data)
        if task == "classify":  # Ultralytics validates on the test images then
            found["val"], found["test"] = found.get("val") or found.get("test"), found.get("val") and found.get("test")
        splits = {
            split: (_classified if task == "classify" else _labelled)(found[split])
            for split in SPLITS
            if found.get(split)
        }
    except Exception as error:
        raise ConfigError(f"data={data}: {one_line(error)}") from None
    for split in ("train", "val"):
        if split not in splits or not splits[split].images:
            raise ConfigError(f"data={data}: it has no {split} images; write data= with a set that has train and val")
    other_keys = {key: found[key] for key in ("kpt_shape", "flip_idx", "channels") if found.get(key) is not None}
    return Dataset(data, task, [str(name) for name in found["names"].values()], splits, other_keys)


def digest(dataset: Dataset) -> str:
    """Return a digest of class names, splits, all images' names and sizes, and what is labelled on them.

    No image is read, and the folders that they lie in have no part in it.
    """
    whole = hashlib.sha256(repr((dataset.names, sorted(dataset.other_keys.items()))).encode())
    for name, split in dataset.splits.items():
        for image, label in zip(split.images, split.labels, strict=True):
            file = Path(image)
            size = file.stat().st_size if file.is_file() else "-"
            whole.update(f"{name} {file.name} {size} {label.content}\n".encode())
    return whole.hexdigest()[:16]


def first_images(split: Split, fraction: float | list[float]) -> Split:
    """Return the part of a split that `fraction` leaves to a training: Ultralytics takes the first images by name.

    Args:
        split: The training images.
        fraction: A share of 1; in later releases of Ultralytics also a number of images, or a list that begins with
            that of the training images.
    """
    whole = len(split.images)
    if isinstance(fraction, list):
        fraction = next(iter(fraction), 1.0)
    count = fraction if isinstance(fraction, int) and fraction > 1 else max(1, round(whole * fraction))
    if count >= whole:
        return split
    return Split(split.images[:count], split.labels[:count])


def _labelled(places: Any) -> Split:
    """Return a split whose labels are text files beside the images' folder."""
    reader = SimpleNamespace(prefix="", fraction=1.0)  # all that the method uses of its data set
    images = BaseDataset.get_img_files(reader, places)  # type: ignore[arg-type]
    return Split(images, [_label(Path(file)) for file in img2label_paths(images)])


def _classified(folder: Any) -> Split:
    """Return a split whose images lie in a folder for each class, in the order of torchvision's reader."""
    images = sorted(
        (str(file) for file in Path(folder).rglob("*.*") if file.suffix[1:].lower() in IMG_FORMATS),
        key=lambda file: (Path(file).relative_to(folder).parts[0], file),
    )
    classes = [Path(file).relative_to(folder).parts[0] for file in images]
    indices = {name: index for index, name in enumerate(sorted({*classes}))}
    return Split(images, [Label(name, {indices[name]: 1}) for name in classes])


def _label(file: Path) -> Label:
    """Read a label file; rows that Ultralytics would refuse do not count."""
    if not file.is_file():
        return Label("-", {})
    content, counts = file.read_bytes(), Counter[int]()
    for row in content.decode(errors="ignore").splitlines():
        first = row.split()[:1]
        if first and first[0].replace(".", "", 1).isdigit():
            counts[int(float(first[0]))] += 1
    return Label(hashlib.sha256(content).hexdigest(), dict(counts))
