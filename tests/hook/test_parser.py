"""The patch of Ultralytics' parser: taken and given back whole, line numbers kept, safe from several threads."""

from __future__ import annotations

import dis
import functools
import inspect
import threading
import traceback
from collections import abc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import ultralytics
import ultralytics.nn
import ultralytics.utils.checks as checks
import ultralytics.utils.files
from ultralytics import YOLO
from ultralytics.data import utils as data_utils
from ultralytics.engine import model as engine_model
from ultralytics.nn import tasks

import yolo_focal

HELD = [
    (tasks, "yaml_model_load"),
    (ultralytics.nn, "yaml_model_load"),
    (engine_model, "yaml_model_load"),
    (checks, "check_file"),
    (data_utils, "check_file"),
    (tasks, "check_file"),
]


@pytest.fixture(autouse=True)
def active() -> Iterator[None]:
    yolo_focal.activate()
    yield
    yolo_focal.activate()


def test_deactivated_it_is_as_if_it_were_not_there(tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text("nc: 1\nbackbone: [[-1, 1, FocalModulation, []]]\nhead: []\n")
    yolo_focal.deactivate()
    with pytest.raises(FileNotFoundError):
        YOLO("yolov8n-focal.yaml")
    with pytest.raises(KeyError, match="FocalModulation"):
        tasks.parse_model(tasks.yaml_model_load(own), 3)


def test_activating_twice_is_activating_once() -> None:
    once = tasks.parse_model.__code__
    yolo_focal.activate()
    assert tasks.parse_model.__code__ is once
    yolo_focal.deactivate()
    yolo_focal.deactivate()
    assert not yolo_focal.is_active()


def test_a_traceback_shows_ultralytics_own_lines() -> None:
    file = Path(tasks.__file__)
    source = file.read_text(encoding="utf-8").splitlines()
    config = {"backbone": [[-1, 1, "Conv", [16, 3, 2]], [-1, 1, "NoSuchModule", []]], "head": [], "nc": 1}
    with pytest.raises(KeyError) as caught:
        tasks.parse_model(config, 3, verbose=False)
    frames = [f for f in traceback.extract_tb(caught.tb) if f.name == "parse_model"]
    assert [Path(f.filename) for f in frames] == [file]
    assert "globals()[m]" in source[frames[0].lineno - 1]


def test_the_patched_function_has_the_source_lines_of_the_original() -> None:
    patched = tasks.parse_model.__code__
    source, signature = inspect.getsource(tasks.parse_model), inspect.signature(tasks.parse_model)
    yolo_focal.deactivate()
    original = tasks.parse_model.__code__
    assert patched is not original
    for attribute in ("co_filename", "co_firstlineno", "co_name", "co_argcount", "co_freevars", "co_flags"):
        assert getattr(patched, attribute) == getattr(original, attribute)
    lines = [{line for _, line in dis.findlinestarts(code)} for code in (original, patched)]
    assert lines[0] == lines[1]
    assert inspect.getsource(tasks.parse_model) == source
    assert inspect.signature(tasks.parse_model) == signature


def test_a_breakpoint_in_the_parser_is_reached() -> None:
    import bdb

    source = Path(tasks.__file__).read_text(encoding="utf-8").splitlines()
    line = source.index("            c2 = ch[f]") + 1

    class Debugger(bdb.Bdb):
        hits: list[str] = []  # noqa: RUF012

        def user_line(self, frame) -> None:
            if self.break_here(frame):
                self.hits.append(frame.f_locals["m"].__name__)
            self.set_continue()

    debugger = Debugger()
    debugger.set_break(tasks.__file__, line)
    debugger.runcall(tasks.parse_model, tasks.yaml_model_load("yolov8n-focal.yaml"), 3, False)
    debugger.clear_all_breaks()
    assert "Upsample" in debugger.hits


def together(count: int, work: abc.Callable[[int], None]) -> None:
    """Do some work in several threads, each with its number, and wait for them."""
    threads = [threading.Thread(target=work, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@pytest.mark.slow
def test_several_threads_at_once() -> None:
    errors: list[BaseException] = []
    start = threading.Barrier(8)

    def work(_: int) -> None:
        try:
            start.wait()
            for _ in range(20):
                yolo_focal.activate()
                yolo_focal.is_active()
                yolo_focal.deactivate()
        except BaseException as error:
            errors.append(error)

    yolo_focal.deactivate()
    before = [getattr(module, name) for module, name in HELD]
    together(8, work)
    assert errors == []
    yolo_focal.deactivate()
    assert all(a is getattr(module, name) for a, (module, name) in zip(before, HELD, strict=True))


def test_threads_that_build_while_active() -> None:
    built: list[str] = []

    def work(_: int) -> None:
        yolo_focal.activate()
        built.append(type(YOLO("yolov8n-focal.yaml").model.model[9]).__name__)

    together(4, work)
    assert built == ["FocalModulation"] * 4


def test_the_registered_class_may_be_in_a_restricted_checkpoint() -> None:
    assert yolo_focal.FocalModulation in torch.serialization.get_safe_globals()


def test_a_class_of_that_name_that_ultralytics_has_already_is_left_alone() -> None:
    yolo_focal.deactivate()
    tasks.FocalModulation = torch.nn.Identity
    try:
        yolo_focal.activate()
        assert tasks.FocalModulation is torch.nn.Identity
        yolo_focal.deactivate()
        assert tasks.FocalModulation is torch.nn.Identity
    finally:
        del tasks.FocalModulation


TINY = {"nc": 3, "backbone": [[-1, 1, "Conv", [16, 3, 2]], [-1, 1, "FocalModulation", []]], "head": []}


@pytest.mark.slow
def test_threads_that_activate_build_and_deactivate() -> None:
    outcomes: list[str] = []
    start = threading.Barrier(8)

    def work(number: int) -> None:
        start.wait()
        for turn in range(50):
            if (number + turn) % 3 == 0:
                yolo_focal.activate()
            elif (number + turn) % 3 == 1:
                yolo_focal.deactivate()
            try:
                layers, _ = tasks.parse_model(dict(TINY), 3, verbose=False)
                outcomes.append(f"{type(layers[1]).__name__} of {layers[1].dim}")
            except BaseException as error:
                outcomes.append(repr(error))

    together(8, work)
    assert len(outcomes) == 400
    assert {*outcomes} == {
        "FocalModulation of 16",
        "KeyError('FocalModulation')",
    }  # as Ultralytics says without the hook


def wrapper_by_closure(inner: Any) -> Any:
    @functools.wraps(inner)
    def parse_model(*args: Any, **kwargs: Any) -> Any:
        calls.append("wrapped")
        return inner(*args, **kwargs)

    return parse_model


class Callable:
    """A wrapper that is no function."""

    def __init__(self, inner: Any) -> None:
        self.__wrapped__ = inner

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        calls.append("wrapped")
        return self.__wrapped__(*args, **kwargs)


def wrapper_by_global(inner: Any) -> Any:
    global held
    held = inner

    def parse_model(*args: Any, **kwargs: Any) -> Any:
        calls.append("wrapped")
        return held(*args, **kwargs)

    return parse_model


calls: list[str] = []
held: Any = None


@pytest.mark.parametrize("wrap", [wrapper_by_closure, Callable, wrapper_by_global])
@pytest.mark.parametrize("first", ["theirs", "ours"])
def test_a_parser_that_somebody_has_wrapped_keeps_working(
    wrap: Any, first: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    yolo_focal.deactivate()
    calls.clear()
    if first == "ours":
        yolo_focal.activate()
    monkeypatch.setattr(tasks, "parse_model", wrap(tasks.parse_model))
    yolo_focal.activate()
    assert type(tasks.parse_model(dict(TINY), 3, verbose=False)[0][1]).__name__ == "FocalModulation"
    yolo_focal.deactivate()
    with pytest.raises(KeyError, match="FocalModulation"):
        tasks.parse_model(dict(TINY), 3, verbose=False)
    assert calls == ["wrapped", "wrapped"]
