"""What the tests of twins share; Ultralytics is imported when the tests' settings are there."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of images of the shapes, without their labels."""
    from yolo_focal import shapes

    folder = tmp_path_factory.mktemp("data") / "set"
    shapes.draw(folder)
    return folder / "images" / "val"


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Register modules of the user's own, for one test."""
    from registrations import Beside, Half, Shrink
    from torch import nn

    from yolo_focal.hook.modules import registration, registry

    monkeypatch.setattr(registry, "_modules", dict(registry._modules))
    monkeypatch.setattr(registration, "_tell_children", lambda *_: None)
    for cls in (Half, Shrink):
        registration.register(cls)
    registration.register(Beside, channels="same")
    registration.register(nn.Conv2d, name="Own", like="Conv")
