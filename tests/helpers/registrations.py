"""What tests of registrations share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from yolo_focal import environment
from yolo_focal.hook.modules import registry


def forget(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Forget what a test registers, and what it tells child processes."""
    before = dict(registry._modules)
    for variable in (environment.MODULES, environment.FILES, environment.REGISTERED):
        monkeypatch.setenv(variable, "")
    yield
    registry._modules.clear()
    registry._modules.update(before)
