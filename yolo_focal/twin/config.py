"""Derives the focal twin of a model config: the same config with FocalModulation, or another module, in its rows."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from yolo_focal.errors import ConfigError
from yolo_focal.files import whole
from yolo_focal.twin import attention, edit
from yolo_focal.twin.rows import Positions, find

FOCAL = "FocalModulation"


class Twin(NamedTuple):
    """A derived config.

    Attributes:
        text: The YAML text.
        original: The parsed YAML of the original.
        config: The parsed YAML of the twin.
        positions: The rows that are new.
        changes: A line for each new row, and one on the rows that an insertion moves.
    """

    text: str
    original: dict[str, Any]
    config: dict[str, Any]
    positions: Positions
    changes: list[str]


class ParsedTwin(NamedTuple):
    """A derived config as the parsed YAML that Ultralytics keeps on a model.

    Attributes:
        config: The parsed YAML.
        positions: The rows that are new.
        changes: A line for each new row, and one on the rows that an insertion moves.
    """

    config: dict[str, Any]
    positions: Positions
    changes: list[str]


def twin(text: str, file: str, replace: str = "SPPF", after: str = "", module: str = FOCAL) -> Twin:
    """Replace a module in a model YAML, or insert one; every other character stays as it is.

    Where rows are inserted, the indices in the first column of the rows behind them are changed, and those that begin a
    row's comment.

    Args:
        text: The model YAML.
        file: Its name, for messages.
        replace: As for `parsed_twin`.
        after: As for `parsed_twin`.
        module: As for `parsed_twin`.

    Returns:
        The twin; its rows are counted from 0 through backbone and head, as in Ultralytics' model table. Its text parses
        to what `parsed_twin` returns.

    Raises:
        ConfigError: There is nothing to replace, the file is not a model YAML, or its text cannot be edited.
    """
    original = parse(text, file)
    edit.check(text, file)
    parsed = parsed_twin(original, file, replace, after, module)
    edited = _edited(text, original, parsed, module, after or replace)
    difference = _difference(edited, parsed.config)
    if difference:
        raise ConfigError(
            f"{file}: its text cannot be edited: {difference}; write backbone and head as lists of "
            "[from, repeats, module, [args]]"
        )
    return Twin(edited, original, *parsed)


def parsed_twin(
    config: dict[str, Any], file: str, replace: str = "SPPF", after: str = "", module: str = FOCAL
) -> ParsedTwin:
    """Derive the twin of a parsed config, as `twin` does from its text.

    What read a row reads the row that is inserted behind it. In a classifier without an SPPF to replace, or to insert
    behind, the module is inserted before the head. Where C2Focal replaces C2PSA, C3k2Focal replaces each C3k2 with
    attention, so that none is left.

    Args:
        config: The parsed YAML of a model; it is not changed.
        file: The name of its YAML or checkpoint, for messages.
        replace: The module to replace, as the rows name it, or a row's index.
        after: The module to insert a row behind, as the rows name it, or a row's index; empty to replace.
        module: The module that replaces another or is inserted.

    Raises:
        ConfigError: There is nothing to replace, or nothing to insert behind.
    """
    config = copy.deepcopy(config)
    rows = [*config["backbone"], *config["head"]]
    names = [str(row[2]) for row in rows]
    positions = find(names, file, replace, after)
    if not after and (replace, module) == (attention.C2PSA, attention.C2FOCAL):
        positions = positions._replace(attention=[index for index, row in enumerate(rows) if attention.in_c3k2(row)])
    in_backbone = len(config["backbone"])
    changes: list[str] = []
    derived: list[list[Any]] = []
    for index, row in enumerate(rows):
        if index in positions.before:
            place = "before Classify, as there is no SPPF" if positions.is_before_head else f"behind {names[index - 1]}"
            changes.append(f"row {len(derived)}: {module}, [] {place}")
            derived.append([-1, 1, module, []])
        entries = row[1:]
        if index in positions.replaced:
            changes.append(f"row {index}: {names[index]}, {row[3]} -> {module}, []")
            entries = [row[1], module, []]
        if index in positions.attention:
            entries = [row[1], *attention.without(row, f"{file}, row {index}")]
            changes.append(f"row {index}: {names[index]}, {row[3]} -> {entries[1]}, {entries[2]}")
        derived.append([positions.reads(row[0], index), *entries])
    if positions.before and not positions.is_before_head:
        changes.append(f"rows from {positions.before[0]} on: moved, and the indices that they read with them")
    # A row behind the backbone's last is one of the backbone.
    in_backbone += sum(index - 1 < in_backbone for index in positions.before) * (not positions.is_before_head)
    config["backbone"], config["head"] = derived[:in_backbone], derived[in_backbone:]
    return ParsedTwin(config, positions, changes)


def name_of_twin(file: str, module: str = FOCAL) -> str:
    """Insert `-focal` after the model family: `yolo11-seg.yaml` becomes `yolo11-focal-seg.yaml`.

    Args:
        file: The original's name.
        module: The new module; for another one than FocalModulation its name in lower case is inserted.
    """
    path = Path(file)
    family = re.match(r"(?:[A-Za-z]+-)?[A-Za-z]*\d+[a-z]?(?=-|$)", path.stem)
    end = family.end() if family else len(path.stem)
    suffix = "focal" if module == FOCAL else module.lower()
    return f"{path.stem[:end]}-{suffix}{path.stem[end:]}{path.suffix}"


def training_command(path: Path, model: str, scales: Iterable[str], example: str) -> str:
    """Return the command that trains a twin at the scale of the original's name.

    Args:
        path: The twin, such as `yolo11-focal-seg.yaml`.
        model: The original as the user wrote it, such as `yolo11n-seg.yaml`.
        scales: The letters of the twin's scales; without a letter in its name, Ultralytics takes the first.
        example: A name for the twin from which Ultralytics would take the scale of the original's name.
    """
    stem, end = path.stem, 0
    letter, family = (re.search(r"yolo(?:e-)?v?\d+([nslmx]?)", name) for name in (Path(model).stem, stem))
    scale = letter[1] if letter else ""
    if family and not family[1]:
        end = family.end()
        path = path.with_name(f"{stem[:end]}{scale}{stem[end:]}{path.suffix}")
    command = f"yolo train model={path} data=my.yaml"
    if not family and scale in [*scales][1:]:
        command += f" # at the first scale; for {scale}, write save= with a name such as {example}"
    return command


def read(path: Path) -> str:
    """Read a YAML file with its line endings and byte-order mark.

    Raises:
        ConfigError: The file is not UTF-8.
    """
    data = path.read_bytes()
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}, line {line}: it is not UTF-8; save it as UTF-8") from None


def save(text: str, path: Path) -> bool:
    """Write a YAML file.

    Returns:
        Whether the file was written; False if it exists with the same text.

    Raises:
        ConfigError: The file exists with another text.
    """
    data = text.encode("utf-8")
    if path.is_file() and path.read_bytes() == data:
        return False
    check_is_free(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole(path) as unfinished:
        unfinished.write_bytes(data)
    return True


def check_is_free(save: Path) -> None:
    """Check that there is no file of a name yet, and that there may be one.

    Raises:
        ConfigError: There is one, or a file where its folder would be.
    """
    if save.exists():
        raise ConfigError(f"{save}: there is another file of that name; write save= with a new one")
    for folder in save.parents:
        if folder.exists() and not folder.is_dir():
            raise ConfigError(f"save={save}: {folder} is a file and no folder; write save= with another one")


def _edited(text: str, original: dict[str, Any], parsed: ParsedTwin, module: str, chosen: str) -> str:
    """Return the text of a twin, before it is verified.

    Args:
        text: The original's text.
        original: The original, parsed.
        parsed: The twin, parsed.
        module: The new module.
        chosen: The module that was to be replaced, or to insert behind.
    """
    positions = parsed.positions
    if positions.replaced:
        derived = [*parsed.config["backbone"], *parsed.config["head"]]
        return edit.replace(text, {index: (derived[index][2], str(derived[index][3])) for index in positions.new})
    rows = [*original["backbone"], *original["head"]]
    reads = [(row[0], positions.reads(row[0], index)) for index, row in enumerate(rows)]
    text = edit.read_from(text, reads, [positions.moved(index) for index in range(len(rows))])
    row = f"[-1, 1, {module}, []]"
    if positions.is_before_head:
        return edit.insert_before_last(text, row, f"this model has no {chosen} to replace")
    for index in reversed(positions.before):
        text = edit.insert_behind(text, index - 1, row)
    return text


def parse(text: str, file: str) -> dict[str, Any]:
    """Parse a model YAML.

    Raises:
        ConfigError: It is not YAML, or its rows do not have the form that Ultralytics reads.
    """
    try:
        config = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigError(f"{file}, line {line}: it is not YAML: {error.problem}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{file}: it is not YAML: {error}") from error
    parts = config if isinstance(config, dict) else {}
    for part in ("backbone", "head"):
        if not isinstance(parts.get(part), list):
            raise ConfigError(f"{file}: no list of rows named {part}; write a model YAML such as yolo11n.yaml")
    rows = parts["backbone"] + parts["head"]
    if not rows:
        raise ConfigError(f"{file}: it has no rows; write a model YAML such as yolo11n.yaml")
    for index, row in enumerate(rows):
        if not isinstance(row, list) or len(row) != 4 or not isinstance(row[3], list):
            raise ConfigError(f"{file}, row {index}: write four entries, [from, repeats, module, [args]]")
    return parts


def _difference(text: str, config: dict[str, Any]) -> str:
    """Return a line on the first entry of a config that a text does not parse to, or an empty one."""
    expected = _entries(config)
    try:
        parsed = _entries(yaml.safe_load(text))
    except (yaml.YAMLError, KeyError, TypeError):
        return "what it would become is not a model YAML"
    # By `repr`, which tells 1 from True and finds `.nan` equal to itself.
    names = (name for name in {**expected, **parsed} if repr(parsed.get(name)) != repr(expected.get(name)))
    return next((f"{name} would become {parsed.get(name)}" for name in names), "")


def _entries(config: dict[str, Any]) -> dict[str, Any]:
    """Return a config's rows and its other entries, by what messages call them."""
    rows = {f"row {index}": row for index, row in enumerate([*config["backbone"], *config["head"]])}
    return {**{key: value for key, value in config.items() if key not in {"backbone", "head"}}, **rows}
