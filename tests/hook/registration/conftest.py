"""Tests of registrations begin with none; Ultralytics is imported when the tests' settings are there."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Forget what a test registers, and what it tells child processes."""
    from yolo_focal import environment
    from yolo_focal.hook.modules import registry

    before = dict(registry._modules)
    for variable in (environment.MODULES, environment.FILES, environment.REGISTERED):
        monkeypatch.setenv(variable, "")
    yield
    registry._modules.clear()
    registry._modules.update(before)
