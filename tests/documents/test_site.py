"""The site's pages: all of them are in its menu, and the API reference has every public name."""

from __future__ import annotations

import re

from pages import PAGES, name, text
from support import REPO

import yolo_focal
from yolo_focal import collection

MKDOCS = (REPO / "mkdocs.yml").read_text(encoding="utf-8")


def test_the_menu_has_every_page_and_its_words_in_chinese() -> None:
    nav, _, rest = MKDOCS.partition("\nnav:\n")[2].partition("\nplugins:\n")
    pages = [name(page).removeprefix("docs/") for page in PAGES if page.parent != REPO]
    assert sorted(re.findall(r"[\w/-]+\.md", nav)) == sorted(page for page in pages if not page.endswith(".zh-CN.md"))
    words = set(re.findall(r"- ([A-Z][\w ]*):", nav)) - {"FocalNet"}  # a name
    translated = re.findall(r"^ {12}([A-Z][\w ]*): \S", rest, re.MULTILINE)
    assert sorted(translated) == sorted(words)


def test_the_reference_has_every_public_name() -> None:
    documented = set(re.findall(r"^::: ([\w.]+)$", text(REPO / "docs" / "api.md"), re.MULTILINE))
    public = {f"yolo_focal.{name}" for name in yolo_focal.__all__ if name != "__version__"}
    assert public | {f"yolo_focal.collection.{name}" for name in collection.__all__} <= documented
    translated = re.findall(r"^::: ([\w.]+)$", text(REPO / "docs" / "api.zh-CN.md"), re.MULTILINE)
    assert set(translated) == documented
