"""The data sets that a comparison is over: which ones `data=` names, and what each is called."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from yolo_focal.errors import ConfigError

_YAML = {".yaml", ".yml"}
_RESERVED = "screening"  # the folder beside those of the sets, for the short trainings of a budget


def find(data: str | Path | Sequence[str | Path]) -> dict[str, str]:
    """Return the data sets that are named, by what each is called.

    A folder stands for the data YAML files in it, or else for the `data.yaml` or `data.yml` of the folders in it, in
    the order of their names. A folder with `train` in it is one data set, of classes.

    Args:
        data: A data set, several with commas between, a folder of data YAML files, or a list of these.

    Raises:
        ConfigError: None is named, or one twice.
    """
    given = [data] if isinstance(data, (str, Path)) else [*data]
    names = [name for one in given for part in _parts(str(one)) for name in _files(part)]
    if not names:
        raise ConfigError(f"data={data}: it names no data set; write data=my.yaml, or several as data=a.yaml,b.yaml")
    places = [os.path.normpath(name) for name in names]
    for index, place in enumerate(places):
        if place in places[:index]:
            raise ConfigError(f"data=: {names[index]} is named twice; write each data set once")
    return dict(zip(_labels([Path(place) for place in places]), names, strict=True))


def _parts(text: str) -> list[str]:
    return [text] if text and Path(text).exists() else [part.strip() for part in text.split(",") if part.strip()]


def _files(name: str) -> list[str]:
    folder = Path(name)
    if not folder.is_dir() or (folder / "train").is_dir():
        return [name]
    own = [file for file in folder.iterdir() if file.suffix in _YAML]
    return sorted(map(str, own or (file for file in folder.glob("*/data.*") if file.suffix in _YAML))) or [name]


def _labels(places: Sequence[Path]) -> list[str]:
    """Return what to call the sets: by their files' names, by their folders' where a file is called data.yaml.

    The first that has a name keeps it, whatever sets are added behind, and wherever the whole is moved.
    """
    taken = {_RESERVED}
    labels = []
    for place in places:
        label = next(name for name in _candidates(place) if name.lower() not in taken)
        taken.add(label.lower())  # two folders whose names differ in case alone are one on some systems
        labels.append(label)
    return labels


def _candidates(place: Path) -> Iterator[str]:
    name, folder = place.stem if place.suffix in _YAML else place.name, place.parent.name
    is_named = folder not in {"", ".."}
    if name != "data" or not is_named:
        yield name
    if is_named:
        yield folder if name == "data" else f"{folder}-{name}"
    yield from (f"{name}-{number}" for number in itertools.count(2))
