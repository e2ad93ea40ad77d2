"""The data of a comparison, as Ultralytics reads them: images, labels, splits, and a digest of their bytes."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

from ultralytics.data.base import BaseDataset
from ultralytics.data.utils import IMG_FORMATS, check_cls_dataset, check_det_dataset, img2label_paths
from ultralytics.utils import TQDM

from yolo_focal.comparison.store.files import read_json, write_json
from yolo_focal.errors import ConfigError, one_line

SPLITS = ("train", "val", "test")
_BLOCK = 1 << 20  # bytes


class Split(NamedTuple):
    """The images of a split, in Ultralytics' order.

    Attributes:
        images: Their files; a file of a list may be missing.
        labels: Their label files, which may be missing; of a classification set, each image's class folder.
        boxes: Number of label rows of each class index that occurs.
    """

    images: list[str]
    labels: list[str]
    boxes: dict[int, int]


class Dataset(NamedTuple):
    """A data set.

    Attributes:
        name: What the user wrote.
        task: The task that it is read for.
        names: Names of the classes, by index.
        splits: `train`, `val` and, where there is one, `test`.
        facts: What else of the YAML changes results, such as `kpt_shape`.
    """

    name: str
    task: str
    names: list[str]
    splits: dict[str, Split]
    facts: dict[str, Any]


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
    facts = {key: found[key] for key in ("kpt_shape", "flip_idx", "channels") if found.get(key) is not None}
    return Dataset(data, task, [str(name) for name in found["names"].values()], splits, facts)


def digest(dataset: Dataset, known: Path) -> str:
    """Return a digest of all images' and labels' bytes, class names and splits; the files' paths have no part in it.

    Args:
        dataset: The data set.
        known: A file that keeps each file's digest with its size and time of change, so that only what has changed is
            read again.
    """
    files = [file for split in dataset.splits.values() for file in (*split.images, *split.labels)]
    digests = _file_digests(files, known)
    whole = hashlib.sha256(repr((dataset.names, sorted(dataset.facts.items()))).encode())
    for name, split in dataset.splits.items():
        for image, label in zip(split.images, split.labels):
            of_label = Path(label).name if dataset.task == "classify" else digests[label]
            whole.update(f"{name} {digests[image]} {of_label}\n".encode())
    return whole.hexdigest()[:16]


def first_images(split: Split, fraction: float | list[float]) -> Split:
    """Return the part of a split that `fraction` leaves to a training: Ultralytics takes the first images by name.

    Args:
        split: The training images, with label files.
        fraction: A share of 1; in later releases of Ultralytics also a number of images, or a list that begins with
            that of the training images.
    """
    whole = len(split.images)
    if isinstance(fraction, list):
        fraction = next(iter(fraction), 1.0)
    count = fraction if isinstance(fraction, int) and fraction > 1 else max(1, round(whole * fraction))
    if count >= whole:
        return split
    labels = split.labels[:count]
    return Split(split.images[:count], labels, _count(labels))


def _labelled(places: Any) -> Split:
    """Return a split whose labels are text files beside the images' folder."""
    reader = SimpleNamespace(prefix="", fraction=1.0)  # all that the method uses of its data set
    images = BaseDataset.get_img_files(reader, places)  # type: ignore[arg-type]
    labels = img2label_paths(images)
    return Split(images, labels, _count(labels))


def _classified(folder: Any) -> Split:
    """Return a split whose images lie in a folder for each class, in the order of torchvision's reader."""
    images = sorted(
        (str(file) for file in Path(folder).rglob("*.*") if file.suffix[1:].lower() in IMG_FORMATS),
        key=lambda file: (Path(file).relative_to(folder).parts[0], file),
    )
    classes = [str(Path(folder) / Path(file).relative_to(folder).parts[0]) for file in images]
    names = sorted({*classes})
    return Split(images, classes, dict(Counter(names.index(name) for name in classes)))


def _count(labels: Iterable[str]) -> dict[int, int]:
    """Count label rows by class; rows that Ultralytics would refuse do not count."""
    counts: Counter[int] = Counter()
    for label in labels:
        file = Path(label)
        rows = file.read_text(encoding="utf-8", errors="ignore").splitlines() if file.is_file() else []
        for row in rows:
            first = row.split()[:1]
            if first and first[0].replace(".", "", 1).isdigit():
                counts[int(float(first[0]))] += 1
    return dict(counts)


def _file_digests(files: Iterable[str], known: Path) -> Mapping[str, str]:
    """Return each file's digest, "-" for one that is missing or a folder."""
    before = read_json(known)
    before = before if isinstance(before, dict) else {}
    now: dict[str, list[Any]] = {}
    for file in TQDM(sorted({*files}), desc="Reading the data"):
        path = Path(file)
        if not path.is_file():
            continue
        status = path.stat()
        mark = [status.st_size, status.st_mtime_ns]
        entry = before.get(file)
        now[file] = entry if isinstance(entry, list) and entry[:2] == mark else [*mark, _file_digest(path)]
    if now != before:
        write_json(known, now)
    return {file: now[file][2] if file in now else "-" for file in files}


def _file_digest(path: Path) -> str:
    whole = hashlib.blake2b(digest_size=8)
    with path.open("rb") as opened:
        while block := opened.read(_BLOCK):
            whole.update(block)
    return whole.hexdigest()
