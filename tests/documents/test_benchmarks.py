"""The pages of the benchmarks: what their tables say is in the CSV files beside them, which are all named."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest
from pages import links, name, prose
from support import REPO

FOLDER = REPO / "docs" / "benchmarks"
PAGES = sorted(page for page in FOLDER.glob("*.md") if not page.name.endswith(".zh-CN.md"))
FILES = {file.name: file.read_text(encoding="utf-8") for file in FOLDER.glob("*.csv")}
NUMBER = re.compile(r"[+-]?\d+\.\d+")


def test_every_file_is_named_by_a_page_and_has_as_many_cells_in_each_row() -> None:
    assert {link for page in PAGES for link in links(page) if link.endswith(".csv")} == set(FILES)
    for text in FILES.values():
        assert len({len(row) for row in csv.reader(text.splitlines())}) == 1


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_figure_of_a_table_is_in_a_file_of_its_page(page: Path) -> None:
    known = [float(found) for file in links(page) if file in FILES for found in NUMBER.findall(FILES[file])]
    rounded = {round(value, digits) for value in known for digits in (2, 3, 4)}
    for row in re.findall(r"^\|.*\|$", prose(page), re.MULTILINE) if page.stem != "index" else []:
        cells = "|".join(row.split("|")[2:])  # without the row's name
        assert [found for found in NUMBER.findall(cells) if float(found) not in rounded] == [], row
