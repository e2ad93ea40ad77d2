"""What the tests of a user's files of modules share."""

from __future__ import annotations

from pathlib import Path

import pytest
from blocks import BLOCKS, write


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a module of the user's own and a model that has it."""
    (tmp_path / "my_blocks.py").write_text(BLOCKS)
    write(tmp_path, [-1, 1, "Twice", []])
    return tmp_path
