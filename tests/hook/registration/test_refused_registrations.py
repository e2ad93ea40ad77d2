"""What may be registered: what may not is refused with what to write instead, and a script gives a warning."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from blocks import BLOCKS
from registrations import BUILT_IN, Keeps, factory
from support import run
from torch import nn

import yolo_focal
from yolo_focal import ConfigError
from yolo_focal.hook.modules import registry


class Narrow(nn.Module):
    """Takes no arguments."""

    def __init__(self) -> None:
        super().__init__()


@pytest.mark.parametrize(
    ("cls", "options", "message"),
    [
        (
            int,
            {},
            "register: <class 'int'> is no nn.Module class; register a class that inherits from torch.nn.Module, or "
            "a function that returns a module",
        ),
        (
            nn.ReLU(),
            {},
            "register: ReLU() is no nn.Module class; register a class that inherits from torch.nn.Module, or "
            "a function that returns a module",
        ),
        (Narrow, {}, "register Narrow: its constructor is () -> 'None', and it is called with (dim, ...)"),
        (
            Keeps,
            {"channels": "scaled"},
            "register Keeps: channels='scaled': write a function or \"same\"; or like= with the module of Ultralytics "
            'whose rows are read in the same way, such as like="Conv"',
        ),
        (
            Keeps,
            {"channels": "same", "like": "Conv"},
            "register Keeps: like='Conv' and channels='same': write one of them",
        ),
        (
            factory,
            {},
            "register factory: what a function is called with is not to be guessed; write channels= with a function, "
            'or like= with the module of Ultralytics whose rows are read in the same way, such as like="Conv"',
        ),
        (Keeps, {"like": 3}, 'register Keeps: like=3: write a class or its name in rows, such as like="C2f"'),
        (
            Keeps,
            {"name": "my keeps"},
            "register my keeps: name='my keeps': write a name of letters, digits and underscores",
        ),
        (
            Keeps,
            {"name": "SPPF"},
            "register SPPF: Ultralytics has that name already; write name= with another, or override=True",
        ),
        (
            Keeps,
            {"name": "FocalModulation"},
            "register FocalModulation: yolo_focal.focal.FocalModulation has that name already; "
            "write name= with another, or override=True for the rows of your own YAML files",
        ),
    ],
)
def test_a_wrong_registration_is_refused(cls: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        yolo_focal.register(cls, **options)
    assert str(caught.value) == message
    assert list(registry.registered()) == BUILT_IN


def test_a_class_inside_a_function_is_refused() -> None:
    class Local(nn.Module):
        def __init__(self, *_: int) -> None:
            super().__init__()

    with pytest.raises(ConfigError) as caught:
        yolo_focal.register(Local)
    assert str(caught.value) == (
        "register Local: it is defined inside the function test_a_class_inside_a_function_is_refused, and a checkpoint "
        "names a class by its file alone; define it at the top of the file"
    )


@pytest.mark.slow
def test_what_is_registered_in_main_gives_a_warning(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(BLOCKS)
    out = run(sys.executable, "train.py", cwd=tmp_path).stdout
    assert re.fullmatch(
        r".*train.py:5: UserWarning: register Twice: what is defined in __main__ is not available in child processes "
        r"or where a checkpoint is loaded; move it to a file of its own and name that in YOLO_FOCAL_MODULES\n"
        r"  @yolo_focal.register\n",
        out,
        re.DOTALL,
    )
    (tmp_path / "my_blocks.py").write_text(BLOCKS)
    (tmp_path / "train.py").write_text("import my_blocks")
    assert run(sys.executable, "train.py", cwd=tmp_path).stdout == ""


def test_a_registered_class_may_be_in_a_restricted_checkpoint() -> None:
    yolo_focal.register(Keeps)
    assert Keeps in torch.serialization.get_safe_globals()
