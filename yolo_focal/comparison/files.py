"""Writes files that are either complete or not there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def write(file: Path, text: str) -> None:
    """Write a text file beside its place and then move it there."""
    beside = file.with_name(f"{file.name}.unfinished")
    beside.write_text(text, encoding="utf-8")
    beside.replace(file)


def write_json(file: Path, content: Any) -> None:
    """Write a JSON file."""
    write(file, json.dumps(content, indent=1))
