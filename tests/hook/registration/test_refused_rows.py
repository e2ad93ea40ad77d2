"""Rows of the user's own modules that cannot be built: each is named, with what to write instead."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from blocks import write
from registrations import Fuses, Keeps, Scales, factory
from torch import nn
from ultralytics import YOLO
from ultralytics.nn import tasks
from ultralytics.nn.modules import Classify

import yolo_focal
from yolo_focal import ConfigError


def rule_that(returns: object) -> Any:
    """Make a channel rule that returns or raises something."""

    def rule(*_: object) -> object:
        if isinstance(returns, Exception):
            raise returns
        return returns

    return rule


LINE = next(n for n, line in enumerate(Path(__file__).read_text("utf-8").splitlines(), 1) if "raise returns" in line)
TASKS = Path(tasks.__file__)
READS = "c1, c2 = ch[f], args[0]"
LINE_OF_READS = next(n for n, line in enumerate(TASKS.read_text("utf-8").splitlines(), 1) if READS in line)
READS_CHANNELS = f"{TASKS}, line {LINE_OF_READS}: {READS}"
RULE = "return the row's channels, an integer, and the constructor's arguments, a list"


@pytest.mark.parametrize(
    ("cls", "options", "row", "message"),
    [
        (Keeps, {}, [[0, 1], 1, "Keeps", []], "from=[0, 1]: it reads one layer; write one index, such as -1"),
        (
            Fuses,
            {"channels": rule_that((8, []))},
            [[], 1, "Fuses", []],
            "from=[]: write the indices of the layers that it reads, such as [-1, 6]",
        ),
        (
            Fuses,
            {"channels": rule_that((8, []))},
            [[-1, "x"], 1, "Fuses", []],
            "from=[-1, 'x']: write layer indices",
        ),
        (Keeps, {}, [5, 1, "Keeps", []], "from=5: there is no such layer before it; write -1 for the previous one"),
        (Keeps, {}, [-1, 1, "Keeps", [3, 4]], "2 arguments [3, 4]: write at most 1, in the order k"),
        (Keeps, {}, [-1, 1, "Keeps", [{"kk": 3}]], "unknown argument kk=3: write k"),
        (Keeps, {}, [-1, 1, "Keeps", [3, {"k": 3}]], "k is given twice, as 3 and as 3: write it once"),
        (Keeps, {}, [-1, 0, "Keeps", []], "repeats=0: write an integer of at least 1"),
        (Keeps, {}, [-1, "two", "Keeps", []], "repeats='two': write an integer of at least 1"),
        (Keeps, {}, [-1, 1, "Keeps", 3], "arguments 3: write a list, such as []"),
        (Keeps, {}, [-1, 1, "Keeps"], "[-1, 1, 'Keeps']: write four parts, [from, repeats, module, arguments]"),
        (
            Scales,
            {"like": "Conv"},
            [-1, 1, "Scales", []],
            "arguments []: it is read as a row of Conv, which stops with IndexError: list index out of range "
            f"({READS_CHANNELS})",
        ),
        (
            Scales,
            {"like": "Conv"},
            [-1, 1, "Scales", [0.5]],
            "arguments [0.5]: it is read as a row of Conv, whose first argument is its output channels: write a "
            "number, such as [256]",
        ),
        (
            Scales,
            {"like": "Conv"},
            [-1, 1, "Scales", [40, 1, 2]],
            "it is called as Conv is, with (24, 40, 1, 2), and its constructor is (c1: 'int', c2: 'int', k: 'int' = 1) "
            "-> 'None': too many positional arguments",
        ),
        (Scales, {"like": "Conv"}, [-1, 1, "Scales", [40, {"kk": 3}]], "unknown argument kk=3: write k"),
        (factory, {"channels": "same"}, [-1, 1, "factory", []], "it returned 24; return a torch.nn.Module"),
        (
            Scales,
            {"like": "Conv"},
            [-1, 2, "Scales", [40]],
            "repeats=2: it has 24 input and 40 output channels and cannot be stacked; write 1",
        ),
        (Keeps, {"channels": rule_that(7)}, [-1, 1, "Keeps", []], f"its channel rule returned 7; {RULE}"),
        (Keeps, {"channels": rule_that((0, []))}, [-1, 1, "Keeps", []], f"its channel rule returned (0, []); {RULE}"),
        (
            Keeps,
            {"channels": rule_that(IndexError("out of range"))},
            [-1, 1, "Keeps", []],
            f"its channel rule raised IndexError: out of range ({__file__}, line {LINE}: raise returns)",
        ),
    ],
)
def test_a_wrong_row_is_refused(
    cls: type, options: dict[str, Any], row: list[Any], message: str, tmp_path: Path
) -> None:
    yolo_focal.register(**options)(cls)
    file = write(tmp_path, row)
    with pytest.raises(ConfigError) as caught:
        YOLO(str(file))
    assert str(caught.value) == f"{file}, row 2 ({row[2]}): {message}"


def test_a_rule_that_fails_in_a_function_of_this_package_is_named_with_its_line(tmp_path: Path) -> None:
    yolo_focal.register(channels=lambda _, args, scaling: (scaling.channels(args[0]), args))(Keeps)
    with pytest.raises(ConfigError) as caught:
        YOLO(str(write(tmp_path, [-1, 1, "Keeps", ["wide"]])))
    said = str(caught.value)
    assert "(Keeps): its channel rule raised TypeError: " in said
    assert f" ({__file__}, line " in said and "scaling.channels(args[0])" in said


class Head(Classify):
    """Uses a name that Ultralytics sets."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, 4)
        self.f = channels


def test_a_head_that_would_be_held_is_refused(tmp_path: Path) -> None:
    yolo_focal.register(Head, channels="same")
    file = write(tmp_path, [-1, 1, "Head", []])
    with pytest.raises(ConfigError) as caught:
        YOLO(str(file))
    assert str(caught.value) == (
        f"{file}, row 2 (Head): Head has an attribute called f or i or np or type, which are Ultralytics' own on a "
        "head: rename it in the class"
    )


class Picky(nn.Module):
    """Raises what a constructor may raise."""

    def __init__(self, dim: int, kind: str) -> None:
        super().__init__()
        if kind == "bare":
            raise AssertionError
        if kind == "key":
            self.size = {"a": 1}["b"]
        self.conv = nn.Conv2d(dim, dim, 1, groups=7)


def line_of(text: str) -> str:
    """Return how a line of this file is named in a message."""
    lines = Path(__file__).read_text(encoding="utf-8").splitlines()
    number = next(n for n, line in enumerate(lines, 1) if line.strip() == text)
    return f"({__file__}, line {number}: {text})"


@pytest.mark.parametrize(
    ("kind", "error", "line"),
    [
        ("bare", "AssertionError", "raise AssertionError"),
        ("key", "KeyError: 'b'", 'self.size = {"a": 1}["b"]'),
        (
            "torch",
            "ValueError: in_channels must be divisible by groups",
            "self.conv = nn.Conv2d(dim, dim, 1, groups=7)",
        ),
    ],
)
def test_a_constructors_error_is_shown_with_its_type_and_line(kind: str, error: str, line: str, tmp_path: Path) -> None:
    yolo_focal.register(Picky)
    file = write(tmp_path, [-1, 1, "Picky", [kind]])
    with pytest.raises(ConfigError) as caught:
        YOLO(str(file))
    assert str(caught.value) == f"{file}, row 2 (Picky): {error} {line_of(line)}"


def test_a_missing_argument_is_named(tmp_path: Path) -> None:
    yolo_focal.register(Picky)
    file = write(tmp_path, [-1, 1, "Picky", []])
    with pytest.raises(ConfigError) as caught:
        YOLO(str(file))
    assert str(caught.value) == (
        f"{file}, row 2 (Picky): Picky.__init__() missing 1 required positional argument: 'kind'"
    )
