"""Writes a report's page: one HTML file that needs no network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jinja2

from yolo_focal.comparison.report.i18n import phrase
from yolo_focal.comparison.store.files import write

_TEMPLATE = Path(__file__).with_name("report.html")
REFRESH = 20  # seconds after which a browser loads an interim report anew


class Link(NamedTuple):
    """A cell of a table that leads to another page."""

    text: str
    href: str

    def __str__(self) -> str:
        return self.text


class Table(NamedTuple):
    """A table of a report.

    Attributes:
        title: What stands above it.
        head: What the columns are called.
        rows: The cells.
        note: What stands below the title.
    """

    title: str
    head: list[str]
    rows: Sequence[Sequence[str | Link]]
    note: str = ""


def write_page(file: Path, lang: str, **parts: Any) -> None:
    """Write a page; its parts are named in `report.html`, and those that are not given are left out."""
    environment = jinja2.Environment(autoescape=True)
    page = environment.from_string(_TEMPLATE.read_text(encoding="utf-8")).render(
        lang=lang, t=lambda key, **values: phrase(lang, key, **values), **parts
    )
    write(file, page)
