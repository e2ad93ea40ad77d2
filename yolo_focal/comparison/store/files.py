"""Writes files that are complete or absent, reads what may be neither, and tells whether a folder is as it was."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from yolo_focal.files import whole

_MANIFEST = "manifest.json"


def write(file: Path, text: str) -> None:
    """Write a text file, which is complete or absent."""
    with whole(file) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(file: Path, content: Any) -> None:
    """Write a JSON file as `write` does."""
    write(file, json.dumps(content, indent=1, ensure_ascii=False))


def read_json(file: Path) -> Any:
    """Return the content of a JSON file; None if it is missing, empty or cut off."""
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # ValueError: not JSON, or not UTF-8
        return None


def digest(file: Path) -> str:
    """Return a digest of a file's bytes."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


def write_manifest(folder: Path) -> None:
    """Write a manifest of a folder's files, which has their names and digests."""
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    write_json(folder / _MANIFEST, {file.relative_to(folder).as_posix(): digest(file) for file in files})


def names_in_manifest(folder: Path) -> list[str] | None:
    """Return the names in a folder's manifest, or None if there is none, or a file is not as it was then."""
    manifest = read_json(folder / _MANIFEST)
    if not isinstance(manifest, dict):
        return None
    unchanged = all((folder / name).is_file() and digest(folder / name) == manifest[name] for name in manifest)
    return [*manifest] if unchanged else None
