"""The twin's text: a model YAML in any style becomes its twin, and nothing else in it changes."""

from __future__ import annotations

import random
import re
from pathlib import Path
from typing import Any

import pytest
import ultralytics
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from yolo_focal import ConfigError
from yolo_focal.twin import config, edit

FILES = sorted((Path(ultralytics.__file__).parent / "cfg" / "models").rglob("*.yaml"))
CONFIGS = [yaml.safe_load(file.read_text(encoding="utf-8")) for file in FILES]
COMMENTS = ("", "", "", " # SPPF", "  # *a0, &a1: [-1, 1, SPPF, [1024, 5]]", " #\t- ünïcode")
WORDS = {None: ("~", "null", "Null"), True: ("true", "True", "yes"), False: ("false", "False", "off")}


class Writer:
    """Writes a value as YAML in a style that is chosen at random, in pieces.

    Args:
        choices: The random choices.
        line_break: What ends a line.
    """

    def __init__(self, choices: random.Random, line_break: str) -> None:
        self.choices = choices
        self.line_break = line_break
        self.pieces: list[tuple[str, bool]] = []  # text, and whether it may change

    def add(self, text: str) -> None:
        self.pieces.append((text, False))

    def document(self, content: dict[str, Any], changed: set[int]) -> str:
        first = {"backbone": 0, "head": len(content["backbone"])}
        for key, value in content.items():
            for _ in range(self.choices.choice((0, 0, 1))):
                self.add(f"{self.comment() or '#'.rjust(3)}{self.line_break}")
            self.add(self.scalar(key) + ":")
            rows = {k for k in range(len(value)) if first[key] + k in changed} if key in first else set()
            self.value(value, 0, flow=False, rows=rows)
            self.add(self.comment() + self.line_break)
        return "".join(text for text, _ in self.pieces)

    def value(self, value: Any, indent: int, flow: bool, rows: set[int] = frozenset()) -> None:
        """Write a value behind a key or a dash; the caller ends the line."""
        if isinstance(value, (list, dict)) and value and not flow and self.choices.random() < 0.5:
            self.block(value, indent, rows)
        elif isinstance(value, (list, dict)):
            self.flow(value, indent, rows)
        else:
            self.add(" " + self.scalar(value))

    def block(self, value: Any, indent: int, rows: set[int]) -> None:
        indent += self.choices.choice((1, 2, 3))
        for k, entry in enumerate(value):
            self.add(self.comment() + self.line_break + " " * indent)
            if isinstance(value, dict):
                self.add(self.scalar(entry) + ":")
                self.value(value[entry], indent, flow=False)
            else:
                self.add("-")
                self.entry(entry, indent, flow=False, changes=k in rows)

    def flow(self, value: Any, indent: int, rows: set[int]) -> None:
        brackets = "{}" if isinstance(value, dict) else "[]"
        self.add(" " + brackets[0])
        for k, entry in enumerate(value):
            if k:
                self.add(self.choices.choice((",", " , ", ", ")))
            if self.choices.random() < 0.1:
                self.add(self.comment() + self.line_break + " " * (indent + 1))
            if isinstance(value, dict):
                self.add(self.scalar(entry) + ":")
                self.value(value[entry], indent, flow=True)
            else:
                self.entry(entry, indent, flow=True, changes=k in rows)
        self.add(self.choices.choice(("", " ")) + brackets[1])

    def entry(self, entry: Any, indent: int, flow: bool, changes: bool) -> None:
        start = len(self.pieces)
        self.value(entry, indent, flow)
        if changes:
            self.pieces[start:] = [("".join(text for text, _ in self.pieces[start:]), True)]

    def scalar(self, value: Any) -> str:
        if value is None or isinstance(value, bool):
            return self.choices.choice(WORDS[value])
        if not isinstance(value, str):
            return repr(value)
        styles = [f"'{value}'", f'"{value}"']
        if re.fullmatch(r"[\w.()]+", value) and isinstance(yaml.safe_load(value), str):
            styles += [value] * 4
        return self.choices.choice(styles)

    def comment(self) -> str:
        return self.choices.choice(COMMENTS)


def check(index: int, choices: random.Random) -> None:
    """Write a model YAML of Ultralytics' at random, derive its twin and compare the two."""
    original = CONFIGS[index]
    try:
        positions = config.parsed_twin(original, "", "SPPF").positions
        replace = "SPPF"
    except ConfigError:
        replace = original["backbone"][choices.randrange(len(original["backbone"]))][2]
        positions = config.parsed_twin(original, "", replace).positions
    line_break = choices.choice(("\n", "\r\n", "\r"))
    writer = Writer(choices, line_break)
    changed = {*positions.replaced} | {*positions.before}
    writer.add(choices.choice(("", "", "\ufeff", "\ufeff# model\r\n", "%YAML 1.1\n---\n")))
    text = writer.document(original, changed)
    assert yaml.safe_load(text) == original  # the writer itself
    twin = config.twin(text, "x.yaml", replace).text
    assert repr(yaml.safe_load(twin)) == repr(config.parsed_twin(original, "", replace).config)
    kept = "".join("(?:.*)" if may_change else re.escape(piece) for piece, may_change in writer.pieces)
    assert re.fullmatch(kept, twin, re.DOTALL), text
    assert ("\n" in twin.replace("\r\n", "")) == ("\n" in text.replace("\r\n", ""))
    check_insertion(text, original, choices)


def check_insertion(text: str, original: dict[str, Any], choices: random.Random) -> None:
    """Insert a row behind another, by its index or behind all of its module, and compare text and parsed twin."""
    rows = [*original["backbone"], *original["head"]]
    index = choices.randrange(len(rows) - 1)
    name = rows[index][2] if rows[index][2] != rows[-1][2] else str(index)
    change = choices.choice((str(index), name)), "C2Focal"
    twin = config.twin(text, "x.yaml", "", *change).text
    assert repr(yaml.safe_load(twin)) == repr(config.parsed_twin(original, "", "", *change).config)
    assert ("\n" in twin.replace("\r\n", "")) == ("\n" in text.replace("\r\n", ""))
    assert all(twin.count(comment) == text.count(comment) for comment in COMMENTS if comment)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, len(FILES) - 1), st.randoms(use_true_random=False))
def test_any_style_of_yaml(index: int, choices: random.Random) -> None:
    check(index, choices)


@pytest.mark.slow
@settings(max_examples=250, deadline=None)
@given(st.integers(0, len(FILES) - 1), st.randoms(use_true_random=False))
def test_any_style_of_yaml_at_length(index: int, choices: random.Random) -> None:
    check(index, choices)


BACKBONE = "backbone: [[-1, 1, Conv, [64, 3, 2]], [-1, 1, SPPF, [64, 5]]]\n"
HEAD = "head: [[-1, 1, Detect, [nc]]]\n"


@pytest.mark.parametrize(
    ("text", "twin"),
    [
        (BACKBONE + HEAD, "backbone: [[-1, 1, Conv, [64, 3, 2]], [-1, 1, FocalModulation, []]]\n" + HEAD),
        (  # anchors elsewhere
            "w: &w [0.33, &d 1]\n" + BACKBONE + "scales: {n: *w, s: [0.33, *d]}\n" + HEAD,
            "w: &w [0.33, &d 1]\nbackbone: [[-1, 1, Conv, [64, 3, 2]], [-1, 1, FocalModulation, []]]\n"
            "scales: {n: *w, s: [0.33, *d]}\n" + HEAD,
        ),
        (  # a comment behind the last argument is no part of it
            HEAD + "backbone:\r\n  - - -1\r\n    - 1\r\n    - SPPF\r\n    - - 5\r\n  # end\r\n\r\n",
            HEAD + "backbone:\r\n  - - -1\r\n    - 1\r\n    - FocalModulation\r\n    - []\r\n  # end\r\n\r\n",
        ),
    ],
)
def test_rows_are_replaced_where_they_stand(text: str, twin: str) -> None:
    assert config.twin(text, "x.yaml").text == twin


CLASSIFY = "[-1, 1, Classify, [nc]]"
NEW = "[-1, 1, FocalModulation, []]"


@pytest.mark.parametrize(
    ("head", "twin"),
    [
        (f"head: [{CLASSIFY}]", f"head: [{NEW}, {CLASSIFY}]"),
        (f"head: [\r\n  {CLASSIFY} # last\r\n]", f"head: [\r\n  {NEW},\r\n  {CLASSIFY} # last\r\n]"),
        (f"head:\n- {CLASSIFY}\n", f"head:\n- {NEW} # this model has no SPPF to replace\n- {CLASSIFY}\n"),
        (
            "head:\r\n  # last\r\n  -\r\n    - -1\r\n    - 1\r\n    - Classify\r\n    - [nc]",
            f"head:\r\n  # last\r\n  - {NEW} # this model has no SPPF to replace\r\n  -\r\n    - -1\r\n    - 1\r\n"
            "    - Classify\r\n    - [nc]",
        ),
        (
            f"? head\n: - {CLASSIFY}\nlast: 1\n",
            f"? head\n: - {NEW} # this model has no SPPF to replace\n  - {CLASSIFY}\nlast: 1\n",
        ),
    ],
)
def test_a_row_is_inserted_into_a_list_of_any_style(head: str, twin: str) -> None:
    backbone = "backbone: [[-1, 1, Conv, [64]]]" + ("\r\n" if "\r\n" in head else "\n")
    assert config.twin(backbone + head, "x.yaml").text == backbone + twin


ROWS = "write the rows of {} in full, each as [from, repeats, module, [args]]"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("r: &r [-1, 1, SPPF, []]\nbackbone:\n- *r\n" + HEAD, ", line 3: *r: anchors and aliases are"),
        ("backbone:\r\n- [-1, 1, &m SPPF, []]\r\n" + HEAD, ", line 2: &m: anchors and aliases are"),
        ("backbone: &b [[-1, 1, SPPF, []]]\n" + HEAD, ", line 1: &b: anchors and aliases are"),
        ("mine: &b\n- [-1, 1, SPPF, []]\nbackbone: *b\n" + HEAD, ", line 1: &b: anchors and aliases are"),
        ("row: &r [*r, 1, SPPF, []]\nbackbone: [*r]\nhead: []\n", ", line 2: *r: anchors and aliases are"),
        (
            "base: &b\n  backbone: [[-1, 1, SPPF, []]]\n  head: []\n<<: *b\n",
            ": backbone is not a key of its own but merged by <<, and is",
        ),
    ],
)
def test_rows_that_are_not_written_out_are_refused(text: str, problem: str) -> None:
    for change in ("SPPF", ""), ("", "SPPF"):
        with pytest.raises(ConfigError) as caught:
            config.twin(text, "x.yaml", *change)
        assert str(caught.value) == f"x.yaml{problem} not edited; {ROWS.format('backbone')}"


def test_an_alias_in_the_head_is_refused_too() -> None:
    with pytest.raises(ConfigError) as caught:
        config.twin("nc: &n 3\n" + BACKBONE + HEAD.replace("nc", "*n"), "x.yaml")
    assert str(caught.value) == f"x.yaml, line 3: *n: anchors and aliases are not edited; {ROWS.format('head')}"


@pytest.mark.parametrize(
    ("edited", "difference"),
    [
        (BACKBONE + HEAD, "row 1 would become [-1, 1, 'SPPF', [64, 5]]"),
        (
            "nc: 3\nbackbone: [[-1, 1, Conv, [64, 3, 2]], [-1, 1, FocalModulation, []]]\n" + HEAD,
            "nc would become 3",
        ),
        (
            "backbone: [[-1, 1, Conv, [64, 3, True]], [-1, 1, FocalModulation, []]]\n" + HEAD,
            "row 0 would become [-1, 1, 'Conv', [64, 3, True]]",
        ),
        ("backbone: [", "what it would become is not a model YAML"),
    ],
)
def test_what_does_not_parse_to_the_twin_is_refused(
    edited: str, difference: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edit, "replace", lambda *_: edited)
    with pytest.raises(ConfigError) as caught:
        config.twin(BACKBONE + HEAD, "x.yaml")
    assert f"x.yaml: its text cannot be edited: {difference}; write" in str(caught.value)
