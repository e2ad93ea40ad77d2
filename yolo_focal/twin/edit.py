"""Replaces and inserts rows in the text of a model YAML; every other character stays as it is."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import yaml

from yolo_focal.errors import ConfigError


class _Edit(NamedTuple):
    """A span of the text and what it becomes.

    Attributes:
        start: Index of its first character.
        end: Index behind its last; equal to `start` for an insertion.
        new: The new text.
    """

    start: int
    end: int
    new: str


def check(text: str, file: str) -> None:
    """Check that backbone and head are written out in a text: as keys of its own, without anchors and aliases.

    Args:
        text: A valid model YAML.
        file: Its name, for messages.

    Raises:
        ConfigError: They are not.
    """
    marks = [token for token in yaml.scan(text) if isinstance(token, (yaml.AnchorToken, yaml.AliasToken))]
    nodes = _nodes(text)
    for part in ("backbone", "head"):
        expected = f"write the rows of {part} in full, each as [from, repeats, module, [args]]"
        if part not in nodes:
            raise ConfigError(f"{file}: {part} is not a key of its own but merged by <<, and is not edited; {expected}")
        start, end = nodes[part].start_mark.index, nodes[part].end_mark.index
        for mark in marks:
            if start <= mark.start_mark.index < end:
                name = f"{'&' if isinstance(mark, yaml.AnchorToken) else '*'}{mark.value}"
                line = mark.start_mark.line + 1
                raise ConfigError(f"{file}, line {line}: {name}: anchors and aliases are not edited; {expected}")


def replace(text: str, rows: Mapping[int, tuple[str, str]]) -> str:
    """Replace the module and the arguments of some rows.

    Args:
        text: A model YAML that passes `check`, here as in the other functions.
        rows: A row's index, counted through backbone and head -> the new module's name and its arguments.
    """
    _, nodes = _rows(text)
    entries = [(nodes[index].value[2 + place], new) for index, row in rows.items() for place, new in enumerate(row)]
    return _apply(text, [_Edit(*_span(text, entry), new) for entry, new in entries])


def read_from(text: str, reads: list[tuple[Any, Any]], moved: list[int]) -> str:
    """Replace the indices that rows read, and those that begin their comments.

    Args:
        text: The model YAML.
        reads: What each row reads and is to read: an index, or a list of as many.
        moved: What a comment on a row's line is to begin with, in place of the row's index.
    """
    edits = []
    for index, (row, (old, new)) in enumerate(zip(_rows(text)[1], reads, strict=True)):
        node = row.value[0]
        entries = zip(node.value, old, new, strict=True) if isinstance(old, list) else [(node, old, new)]
        edits += [_Edit(*_span(text, entry), str(after)) for entry, before, after in entries if after != before]
        comment = re.compile(r"[ \t]*#[ \t]*(\d+)\b").match(text, _span(text, row)[1])
        if comment and int(comment[1]) == index:
            edits.append(_Edit(*comment.span(1), str(moved[index])))
    return _apply(text, edits)


def insert_before_last(text: str, row: str, comment: str) -> str:
    """Insert a row before the last one.

    Args:
        text: The model YAML.
        row: The row, in flow style.
        comment: A comment for it, which is left out where the rows are in flow style.
    """
    parts, rows = _rows(text)
    position = rows[-1].start_mark.index
    if parts[-1].flow_style:
        return _apply(text, [_Edit(position, position, f"{row},{_own_line(text, position)}")])
    dash = _dash(text, position)
    new = f"- {row} # {comment}{_line_break(text)}{' ' * dash.column}"
    return _apply(text, [_Edit(dash.index, dash.index, new)])


def insert_behind(text: str, index: int, row: str) -> str:
    """Insert a row behind another one, on the line below it where the rows are in block style.

    Args:
        text: The model YAML.
        index: The other row's index, counted through backbone and head.
        row: The row, in flow style.
    """
    parts, rows = _rows(text)
    start, end = _span(text, rows[index])
    if parts[index].flow_style:
        return _apply(text, [_Edit(end, end, f",{_own_line(text, start)}{row}")])
    end += len(re.split(r"[\r\n]", text[end:], maxsplit=1)[0])
    new = f"{_line_break(text)}{' ' * _dash(text, start).column}- {row}"
    return _apply(text, [_Edit(end, end, new)])


def _nodes(text: str) -> dict[str, Any]:
    """Return the node of each key of a text."""
    root: Any = yaml.compose(text, Loader=yaml.SafeLoader)
    return {key.value: value for key, value in root.value}


def _rows(text: str) -> tuple[list[Any], list[Any]]:
    """Return for each row the node of the list that it is in, and its own."""
    nodes = _nodes(text)
    pairs = [(nodes[part], row) for part in ("backbone", "head") for row in nodes[part].value]
    return [part for part, _ in pairs], [row for _, row in pairs]


def _own_line(text: str, position: int) -> str:
    """Return what parts a row at a position from the one before it: a line break and its indent, or a space."""
    own_line = re.search(r"(\r\n|[\r\n])[ \t]*\Z", text[:position])
    return own_line[0] if own_line else " "


def _line_break(text: str) -> str:
    line_break = re.search(r"\r\n|[\r\n]", text)
    return line_break[0] if line_break else "\n"


def _dash(text: str, position: int) -> Any:
    """Return the mark of the dash of a block-style entry that starts at a position."""
    entries = (token.start_mark for token in yaml.scan(text) if isinstance(token, yaml.BlockEntryToken))
    return [mark for mark in entries if mark.index < position][-1]


def _span(text: str, node: yaml.Node) -> tuple[int, int]:
    """Return the start and end index of a node in the text."""
    start, last = node.start_mark.index, node
    # A block collection's end mark is the start of the next node, behind white space and comments.
    while isinstance(last, yaml.CollectionNode) and not last.flow_style and last.value:
        last = last.value[-1][1] if isinstance(last, yaml.MappingNode) else last.value[-1]
    return start, start + len(text[start : last.end_mark.index].rstrip())


def _apply(text: str, edits: list[_Edit]) -> str:
    for edit in sorted(edits, reverse=True):
        text = text[: edit.start] + edit.new + text[edit.end :]
    return text
