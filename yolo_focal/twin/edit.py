"""Replaces and inserts rows in the text of a model YAML; every other character stays as it is."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import yaml

_SEQ = "tag:yaml.org,2002:seq"


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


class _Alias(yaml.Node):
    """An alias: the value of the anchor's node, and the marks of the alias itself.

    Args:
        anchor: The node that has the anchor.
        event: The alias.
    """

    def __init__(self, anchor: Any, event: Any) -> None:
        super().__init__(anchor.tag, anchor.value, event.start_mark, event.end_mark)
        self.anchor = anchor


class _Loader(yaml.SafeLoader):
    """Composes a text's nodes with an `_Alias` for each alias, where PyYAML has the anchor's node itself."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.aliases: list[_Alias] = []

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        node = super().compose_node(parent, index)
        if isinstance(event, yaml.AliasEvent):
            node = _Alias(node, event)
            self.aliases.append(node)
        return node


def replace(text: str, indices: list[int], module: str, arguments: str = "[]") -> str:
    """Replace the module of some rows and their arguments.

    Where a row, its module or its arguments are an alias, the new ones are written where the alias stands. Where they
    have an anchor, its aliases elsewhere are replaced by their values.

    Args:
        text: A valid model YAML.
        indices: The rows' indices, counted through backbone and head.
        module: The new module's name.
        arguments: The new arguments, in flow style.
    """
    parts, aliases = _compose(text)
    return _apply(text, _entries(text, parts, {index: {2: module, 3: arguments} for index in indices}), aliases)


def read_from(text: str, sources: dict[int, str], moved: dict[int, int]) -> str:
    """Replace what rows read, and the indices that begin their comments.

    Args:
        text: A valid model YAML.
        sources: Index of a row, counted through backbone and head -> its new `from`, in flow style.
        moved: Index of each row -> the one that a comment on its line is to begin with in place of that.
    """
    parts, aliases = _compose(text)
    edits = _entries(text, parts, {index: {0: source} for index, source in sources.items()})
    for index, row in enumerate(row for part in parts if not isinstance(part, _Alias) for row in part.value):
        end = _span(text, row)[1]
        comment = re.compile(r"[ \t]*#[ \t]*(\d+)\b").match(text, end)
        if comment and int(comment[1]) == index != moved.get(index, index):
            edits.append(_Edit(*comment.span(1), str(moved[index])))
    return _apply(text, edits, aliases)


def insert_before_last(text: str, row: str, comment: str) -> str:
    """Insert a row before the last one.

    Args:
        text: A valid model YAML.
        row: The row, in flow style.
        comment: A comment for it, which is left out where the rows are in flow style.
    """
    parts, aliases = _compose(text)
    rows = [part for part in parts if part.value][-1]
    last = rows.value[-1]
    position = last.start_mark.index
    if isinstance(rows, _Alias):
        new = [*rows.value[:-1], yaml.compose(row, Loader=yaml.SafeLoader), last]
        edit = _Edit(*_span(text, rows), _flow(yaml.SequenceNode(_SEQ, new)))
    elif rows.flow_style:
        own_line = re.search(r"(\r\n|[\r\n])[ \t]*\Z", text[:position])
        edit = _Edit(position, position, f"{row},{own_line[0] if own_line else ' '}")
    else:
        dash = _dash(text, position)
        line_break = re.search(r"\r\n|[\r\n]", text)
        indent = (line_break[0] if line_break else "\n") + " " * dash.column
        edit = _Edit(dash.index, dash.index, f"- {row} # {comment}{indent}")
    return _apply(text, [edit], aliases)


def insert_behind(text: str, index: int, row: str) -> str:
    """Insert a row behind another one, on the line below it where the rows are in block style.

    Args:
        text: A valid model YAML.
        index: The other row's index, counted through backbone and head.
        row: The row, in flow style.
    """
    parts, aliases = _compose(text)
    part = parts[0] if index < len(parts[0].value) else parts[1]
    position = index if part is parts[0] else index - len(parts[0].value)
    other = part.value[position]
    start, end = _span(text, other)
    line_break = re.search(r"\r\n|[\r\n]", text)
    if isinstance(part, _Alias):
        new = [*part.value]
        new.insert(position + 1, yaml.compose(row, Loader=yaml.SafeLoader))
        edit = _Edit(*_span(text, part), _flow(yaml.SequenceNode(_SEQ, new)))
    elif part.flow_style:
        own_line = re.search(r"(\r\n|[\r\n])[ \t]*\Z", text[:start])
        edit = _Edit(end, end, f",{own_line[0] if own_line else ' '}{row}")
    else:
        rest = re.compile(r"[^\r\n]*").match(text, end)
        end = rest.end() if rest else end
        edit = _Edit(end, end, f"{line_break[0] if line_break else chr(10)}{' ' * _dash(text, start).column}- {row}")
    return _apply(text, [edit], aliases, part)


def _dash(text: str, position: int) -> Any:
    """Return the mark of the dash of a block-style entry that starts at a position."""
    entries = (token.start_mark for token in yaml.scan(text) if isinstance(token, yaml.BlockEntryToken))
    return [mark for mark in entries if mark.index < position][-1]


def _compose(text: str) -> tuple[list[Any], list[_Alias]]:
    """Return the nodes of backbone and head, and all aliases.

    Raises:
        ValueError: Backbone or head is not a key of the text.
    """
    loader = _Loader(text)
    try:
        root: Any = loader.get_single_node()
    finally:
        loader.dispose()  # type: ignore[no-untyped-call]
    nodes = {key.value: value for key, value in root.value}
    try:
        return [nodes["backbone"], nodes["head"]], loader.aliases
    except KeyError as error:
        raise ValueError(f"{error.args[0]} is not a key of its own") from None


def _entries(text: str, parts: list[Any], rows: dict[int, dict[int, str]]) -> list[_Edit]:
    """Return the edits that replace entries of rows.

    Args:
        text: The model YAML.
        parts: The nodes of backbone and head.
        rows: Index of a row, counted through backbone and head -> position of an entry in it -> the new entry.
    """
    edits = []
    first = 0
    for part in parts:
        chosen = {index - first: new for index, new in rows.items() if 0 <= index - first < len(part.value)}
        first += len(part.value)
        if isinstance(part, _Alias) and chosen:
            nodes = [_row(row, chosen[k]) if k in chosen else row for k, row in enumerate(part.value)]
            edits.append(_Edit(*_span(text, part), _flow(yaml.SequenceNode(_SEQ, nodes))))
            continue
        for row, new in ((part.value[k], new) for k, new in chosen.items()):
            if isinstance(row, _Alias):
                edits.append(_Edit(*_span(text, row), _flow(_row(row, new))))
            else:
                edits += [_Edit(*_span(text, row.value[k]), entry) for k, entry in new.items()]
    return edits


def _row(old: yaml.Node, new: dict[int, str]) -> yaml.Node:
    """Return a row with new entries, by their positions."""
    composed = {k: yaml.compose(entry, Loader=yaml.SafeLoader) for k, entry in new.items()}
    return yaml.SequenceNode(_SEQ, [composed.get(k, entry) for k, entry in enumerate(old.value)])


def _span(text: str, node: yaml.Node) -> tuple[int, int]:
    """Return the start and end index of a node in the text."""
    start, last = node.start_mark.index, node
    # A block collection's end mark is the start of the next node, behind white space and comments.
    while isinstance(last, yaml.CollectionNode) and not last.flow_style and last.value:
        last = last.value[-1][1] if isinstance(last, yaml.MappingNode) else last.value[-1]
    return start, start + len(text[start : last.end_mark.index].rstrip())


def _flow(node: yaml.Node) -> str:
    """Return a node's text in flow style, with the values of its aliases."""
    # Inside a list, because a plain scalar may hold characters there that separate its entries.
    entry = yaml.SequenceNode(_SEQ, [_without_aliases(node)], flow_style=True)
    text: str = yaml.serialize(entry, Dumper=yaml.SafeDumper, width=float("inf"), allow_unicode=True)
    return text.strip()[1:-1]


def _without_aliases(node: Any) -> yaml.Node:
    """Return a copy of a node in flow style, without aliases and anchors."""
    node = node.anchor if isinstance(node, _Alias) else node
    if isinstance(node, yaml.ScalarNode):
        return yaml.ScalarNode(node.tag, node.value, style=node.style)
    if isinstance(node, yaml.SequenceNode):
        return yaml.SequenceNode(node.tag, [_without_aliases(entry) for entry in node.value], flow_style=True)
    pairs = [(_without_aliases(key), _without_aliases(value)) for key, value in node.value]
    return yaml.MappingNode(node.tag, pairs, flow_style=True)


def _apply(text: str, edits: list[_Edit], aliases: list[_Alias], grown: Any = None) -> str:
    """Edit the text, and replace each alias whose anchor's node is edited by the value that it had.

    Args:
        text: The text.
        edits: The edits.
        aliases: All aliases of the text.
        grown: The list that an edit adds an entry to; that may stand behind what is the list's end so far.
    """
    values = []
    for alias in aliases:
        start, end = _span(text, alias)
        anchor_start, anchor_end = _span(text, alias.anchor)
        is_replaced = any(edit.start <= start and end <= edit.end for edit in edits)
        is_changed = alias.anchor is grown or any(edit.start < anchor_end and anchor_start < edit.end for edit in edits)
        if is_changed and not is_replaced:
            values.append(_Edit(start, end, _flow(alias)))
    for edit in sorted([*edits, *values], reverse=True):
        text = text[: edit.start] + edit.new + text[edit.end :]
    return text
