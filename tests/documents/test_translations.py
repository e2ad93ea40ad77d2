"""A page in Chinese says what the English one says: the same sections, code, figures and links."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest
from pages import PAGES, blocks, heads, links, name, prose, translation

PAIRS = [page for page in PAGES if translation(page).exists()]
ENGLISH_ONLY = {
    "CHANGELOG.md": "for whoever updates",
    "CONTRIBUTING.md": "for whoever contributes",
    "SECURITY.md": "one text that holds",
    "docs/export.md": "tables that a script writes",
}


def without_comments(page: Path) -> list[tuple[str, str]]:
    return [(language, re.sub(r"\s+#[^\n]*", "", body)) for language, body in blocks(page)]


def figures(page: Path) -> list[list[str]]:
    """Return the numbers in each row of each table, targets of links not counted."""
    rows = re.findall(r"^\|.*\|$", prose(page), re.MULTILINE)
    return [re.findall(r"\d[\d.,]*\d|\d", re.sub(r"\]\([^)]*\)", "]", row)) for row in rows]


def targets(page: Path) -> list[str]:
    """Return the files that a page links to, but for its translation."""
    files = [link.partition("#")[0].replace(".zh-CN.md", ".md") for link in links(page)]
    return sorted(file for file in files if file != page.name.replace(".zh-CN.md", ".md"))


def test_every_page_has_a_translation_or_a_reason_to_have_none() -> None:
    chinese = {translation(page) for page in PAIRS}
    assert {name(page) for page in PAGES if page not in PAIRS and page not in chinese} == set(ENGLISH_ONLY)
    assert len(PAIRS) > 14


@pytest.mark.parametrize("page", PAIRS, ids=name)
def test_the_page_in_chinese_has_the_same_code_sections_figures_and_links(page: Path) -> None:
    chinese = translation(page)
    assert without_comments(chinese) == without_comments(page)
    assert [head.partition(" ")[0] for head in heads(chinese)] == [head.partition(" ")[0] for head in heads(page)]
    assert figures(chinese) == figures(page)
    assert targets(chinese) == targets(page)
    assert links(chinese)[0] == page.name
    assert links(page)[0] == chinese.name


def wrapped(page: Path) -> list[str]:
    """Return the lines of a page that go on with the paragraph or list item of the line before."""
    begins = r"\s*([-*] |\d+\. |\||#|<|>|:::|options:|members:)|!\[|$"
    lines = prose(page).splitlines()
    return [line for before, line in itertools.pairwise(lines) if before and not re.match(begins, line)]


@pytest.mark.parametrize("page", PAIRS, ids=name)
def test_a_paragraph_in_chinese_is_one_line(page: Path) -> None:
    """Browsers show a line's end as a space, which Chinese has not."""
    assert wrapped(translation(page)) == []
