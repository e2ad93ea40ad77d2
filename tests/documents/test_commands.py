"""The README in Chinese says what the English one says: the same commands, code and figures."""

from __future__ import annotations

import re

from conftest import REPO

COMMENT = re.compile(r"\s+#[^\n]*")


def blocks(name: str) -> list[str]:
    """Return the fenced blocks of a README, without the comments at the ends of their lines."""
    text = (REPO / name).read_text(encoding="utf-8")
    return [COMMENT.sub("", block) for block in re.findall(r"```\w+\n.*?```", text, re.DOTALL)]


def figures(name: str) -> list[list[str]]:
    """Return the numbers in each row of each table."""
    text = (REPO / name).read_text(encoding="utf-8")
    rows = re.findall(r"^\|.*\|$", text, re.MULTILINE)
    return [re.findall(r"\d[\d.,]*\d|\d", row) for row in rows]


def test_the_readme_in_chinese_has_the_same_commands_and_code() -> None:
    assert len(blocks("README.md")) > 10
    assert blocks("README.zh-CN.md") == blocks("README.md")


def test_the_readme_in_chinese_has_the_same_figures() -> None:
    assert len(figures("README.md")) > 30
    assert figures("README.zh-CN.md") == figures("README.md")


def test_the_readme_in_chinese_has_the_same_sections() -> None:
    heads = [
        re.findall(r"^(#+) ", (REPO / name).read_text("utf-8"), re.MULTILINE)
        for name in ("README.md", "README.zh-CN.md")
    ]
    assert heads[0] == heads[1]
