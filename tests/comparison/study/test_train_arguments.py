"""The training arguments of a comparison: all are explicit, and those that cannot be are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from yolo_focal import ConfigError
from yolo_focal.comparison.study import train_arguments


def test_every_argument_is_explicit_and_the_users_go_first() -> None:
    Path("own.yaml").write_text("epochs: 7\nlr0: 0.5\nmodel: other.yaml\nseed: 4\npretrained: a.pt\n")
    given = train_arguments.given({"cfg": "own.yaml", "lr0": 0.25, "imgsz": 64})
    assert given == {"epochs": 7, "lr0": 0.25, "imgsz": 64, "pretrained": "a.pt"}
    every = train_arguments.check(given)
    assert (every["epochs"], every["lr0"], every["imgsz"], every["mosaic"]) == (7, 0.25, 64, 1.0)
    assert train_arguments.check({})["imgsz"] == 640  # and not a checkpoint's own
    assert not every.keys() & {"model", "data", "seed", "project", "name", "cfg", "pretrained", "workers"}
    assert train_arguments.check({"workers": 3})["workers"] == 3


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"resume": True}, "resume=True: compare sets it itself: the same command goes on by itself; leave it out"),
        (
            {"batch": -1},
            "batch=-1: write a number of images of at least 1, such as batch=16; a size that is found automatically "
            "would differ from model to model",
        ),
        (
            {"batch": 0.7},
            "batch=0.7: write a number of images of at least 1, such as batch=16; a size that is found automatically "
            "would differ from model to model",
        ),
    ],
)
def test_arguments_that_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        train_arguments.check(train_arguments.given(given))
    assert str(caught.value) == message


def test_an_unknown_argument_is_named_with_the_nearest() -> None:
    Path("own.yaml").write_text("epoch: 7\n")
    for given in ({"epoch": 3}, {"cfg": "own.yaml"}):
        with pytest.raises(ConfigError, match=r"'epoch' is not a valid.*epochs"):
            train_arguments.given(given)
