"""Names of modules: whose a row means where two have one, what may be replaced, and names that nobody has."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from blocks import BLOCKS, SEES, write
from registrations import BUILT_IN, Keeps, Scales, build
from support import run
from torch import nn
from ultralytics import YOLO

import yolo_focal
from yolo_focal import ConfigError
from yolo_focal.collection import EMA
from yolo_focal.hook.modules import registry


@pytest.mark.parametrize("name", ["EMA", "C2Focal"])
def test_a_module_of_the_users_own_replaces_one_of_this_package(name: str, tmp_path: Path) -> None:
    file = write(tmp_path, [-1, 1, name, []])
    assert type(build(file)[2]).__module__.startswith("yolo_focal.")
    yolo_focal.register(Keeps, name=name)
    assert type(build(file)[2]) is Keeps
    with pytest.raises(ConfigError) as caught:  # the user's own is not replaced silently
        yolo_focal.register(Scales, name=name, like="Conv")
    assert (
        str(caught.value)
        == f"register {name}: {Keeps.__module__}.Keeps has that name already; write name= with another"
    )


@pytest.mark.slow
def test_a_child_process_replaces_it_too(tmp_path: Path) -> None:
    (tmp_path / "my_blocks.py").write_text(BLOCKS.replace("@yolo_focal.register", '@yolo_focal.register(name="EMA")'))
    write(tmp_path, [-1, 1, "EMA", []])
    code = f"""
import subprocess, sys, my_blocks
subprocess.run([sys.executable, "-c", {SEES!r}], check=True)
"""
    assert run(sys.executable, "-c", code, cwd=tmp_path).stdout.splitlines()[-1] == "Twice"


def test_a_module_of_ultralytics_is_preferred_to_one_of_this_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ultralytics.nn import tasks

    monkeypatch.setattr(tasks, "EMA", nn.Identity, raising=False)  # as in a fork
    assert type(build(write(tmp_path, [-1, 1, "EMA", []]))[2]) is nn.Identity
    yolo_focal.register(EMA)  # it is ours, and changes nothing
    assert type(build(write(tmp_path, [-1, 1, "EMA", []]))[2]) is nn.Identity
    with pytest.raises(ConfigError) as caught:
        yolo_focal.register(Keeps, name="EMA")
    assert str(caught.value) == (
        "register EMA: Ultralytics has that name already; write name= with another, or override=True"
    )


def test_a_name_can_be_taken_from_ultralytics(tmp_path: Path) -> None:
    yolo_focal.register(Scales, name="SPPF", like="Conv", override=True)
    assert type(build(write(tmp_path, [-1, 1, "SPPF", [40]]))[2]) is Scales


@pytest.mark.parametrize("name", ["FocalStage", "Classifier"])
def test_a_module_of_the_users_own_takes_precedence_over_the_packages_of_that_name(name: str, tmp_path: Path) -> None:
    yolo_focal.register(Keeps, name=name)
    assert type(build(write(tmp_path, [-1, 1, name, []]))[2]) is Keeps
    with pytest.raises(ConfigError) as caught:
        yolo_focal.register(Scales, name=name)
    assert (
        str(caught.value)
        == f"register {name}: {Keeps.__module__}.Keeps has that name already; write name= with another"
    )


def test_the_same_name_twice_is_refused_unless_it_is_the_same_class() -> None:
    yolo_focal.register(Keeps)
    again = type("Keeps", (Keeps,), {"__module__": Keeps.__module__, "__qualname__": "Keeps"})  # a file imported anew
    yolo_focal.register(again)
    assert registry.registered()["Keeps"].cls is again
    with pytest.raises(ConfigError) as caught:
        yolo_focal.register(Scales, name="Keeps")
    assert (
        str(caught.value) == f"register Keeps: {Keeps.__module__}.Keeps has that name already; write name= with another"
    )


def test_an_unknown_name_says_what_is_registered_and_what_is_meant(tmp_path: Path) -> None:
    yolo_focal.register(Keeps)
    file = write(tmp_path, [-1, 1, "Keep", []])
    with pytest.raises(KeyError) as caught:
        YOLO(str(file))
    assert isinstance(caught.value, ConfigError)
    assert str(caught.value) == (
        f"{file}, row 2: there is no module called Keep; did you mean Keeps? (registered: "
        f"{', '.join([*BUILT_IN, 'Keeps'])}). A module of your own is registered by a file: "
        "YOLO_FOCAL_MODULES=my_blocks.py"
    )
