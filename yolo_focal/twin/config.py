"""Derives the focal twin of a model config: the same, with FocalModulation in the rows of another module."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from yolo_focal.errors import ConfigError

_FOCAL = "FocalModulation"


class Twin(NamedTuple):
    """A derived config: its text, and a line for each row that is not the original's."""

    text: str
    changes: list[str]


def twin(text: str, file: str, replace: str = "SPPF") -> Twin:
    """Put FocalModulation where `replace` stands; every other character stays as it is.

    A classifier without such a row gets one before its head instead, where all that it sees passes through.

    Args:
        text: The model YAML.
        file: Its name, for messages.
        replace: The module to replace, as the rows name it.

    Returns:
        The twin; rows are counted as Ultralytics' model table does, from 0, through backbone and head.

    Raises:
        ConfigError: There is nothing to replace, or the file is no model YAML.
    """
    rows = _rows(text, file)
    places = _places([str(row[2].value) for row in rows], file, replace)
    edits, changes = [], []
    for index in places.replaced:
        module, args = (_span(text, node) for node in rows[index][2:])
        edits += [(*module, _FOCAL), (*args, "[]")]
        changes.append(_change(index, replace, text[slice(*args)]))
    if places.inserted is not None:
        start = text.rfind("\n", 0, rows[places.inserted][0].start_mark.index) + 1
        indent = re.match(r"\s*", text[start:])[0]  # type: ignore[index]
        edits.append((start, start, f"{indent}- [-1, 1, {_FOCAL}, []] # this model has no SPPF to replace\n"))
        changes.append(_insertion(places.inserted))
    for start, end, new in reversed(edits):
        text = text[:start] + new + text[end:]
    return Twin(text, changes)


class Places(NamedTuple):
    """Where a twin has FocalModulation: in the place of these rows, or in front of one that stays."""

    replaced: list[int]
    inserted: int | None


class ParsedTwin(NamedTuple):
    """A derived config as Ultralytics keeps it on a model, where it is, and a line for each such row."""

    config: dict[str, Any]
    places: Places
    changes: list[str]


def parsed_twin(config: dict[str, Any], file: str, replace: str = "SPPF") -> ParsedTwin:
    """Do what `twin` does to the parsed config that a checkpoint's model carries.

    Raises:
        ConfigError: There is nothing to replace.
    """
    config = copy.deepcopy(config)
    rows = [*config["backbone"], *config["head"]]
    places = _places([str(row[2]) for row in rows], file, replace)
    changes = []
    for index in places.replaced:
        changes.append(_change(index, replace, str(rows[index][3])))
        rows[index][2:] = [_FOCAL, []]
    if places.inserted is not None:
        config["head"].insert(-1, [-1, 1, _FOCAL, []])
        changes.append(_insertion(places.inserted))
    return ParsedTwin(config, places, changes)


def _places(modules: list[str], file: str, replace: str) -> Places:
    replaced = [index for index, module in enumerate(modules) if module == replace]
    if replaced:
        return Places(replaced, None)
    if replace == "SPPF" and modules[-1] == "Classify":
        return Places([], len(modules) - 1)
    named = ", ".join(sorted(set(modules)))
    raise ConfigError(f"{file}: no row names {replace}; write replace= with one of {named}")


def _change(index: int, replace: str, args: str) -> str:
    one_line = re.sub(r"\s+", " ", args)
    return f"row {index}: {replace}, {one_line} -> {_FOCAL}, []"


def _insertion(index: int) -> str:
    return f"row {index}: {_FOCAL}, [] before Classify, as there is no SPPF"


def _span(text: str, node: yaml.Node) -> tuple[int, int]:
    start, end = node.start_mark.index, node.end_mark.index
    return start, start + len(text[start:end].rstrip())  # a block's end is where the next one starts


def name_of_twin(file: str) -> str:
    """Put `-focal` behind the family and its number: `yolo11-seg.yaml` becomes `yolo11-focal-seg.yaml`."""
    path = Path(file)
    family = re.match(r"(?:[A-Za-z]+-)?[A-Za-z]*\d+[a-z]?(?=-|$)", path.stem)
    end = family.end() if family else len(path.stem)
    return f"{path.stem[:end]}-focal{path.stem[end:]}{path.suffix}"


def save(twin_text: str, path: Path) -> bool:
    """Write a twin; return whether the file was written, False where it holds that very text already.

    Raises:
        ConfigError: There is another file of that name.
    """
    if path.exists():
        if path.read_text(encoding="utf-8") == twin_text:
            return False
        raise ConfigError(f"{path}: there is another file of that name; write save= with a new one")
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    part.write_text(twin_text, encoding="utf-8")
    part.replace(path)
    return True


def _rows(text: str, file: str) -> list[list[yaml.Node]]:
    """The rows of backbone and head as YAML nodes, which know their places in the text."""
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise ConfigError(f"{file}: not a YAML file: {error}") from error
    parts = {k.value: v for k, v in root.value} if isinstance(root, yaml.MappingNode) else {}
    rows = []
    for part in ("backbone", "head"):
        if not isinstance(parts.get(part), yaml.SequenceNode):
            raise ConfigError(f"{file}: no list of rows named {part}; write a model YAML such as yolo11n.yaml")
        rows += [node.value for node in parts[part].value]
    if not rows:
        raise ConfigError(f"{file}: it has no rows; write a model YAML such as yolo11n.yaml")
    for index, row in enumerate(rows):
        if not isinstance(row, list) or len(row) != 4:
            raise ConfigError(f"{file}, row {index}: write four entries, [from, repeats, module, args]")
    return rows
