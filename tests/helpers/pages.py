"""The project's Markdown pages, and what the tests read out of them."""

from __future__ import annotations

import re
from pathlib import Path

from support import REPO

PAGES = [*sorted(REPO.glob("*.md")), *sorted((REPO / "docs").rglob("*.md"))]
_FENCE = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def name(page: Path) -> str:
    """Return a page's path below the project's folder."""
    return page.relative_to(REPO).as_posix()


def translation(page: Path) -> Path:
    """Return the path that a page's Chinese translation has."""
    return page.with_suffix(".zh-CN.md")


def text(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def blocks(page: Path) -> list[tuple[str, str]]:
    """Return a page's fenced blocks: the language and what is in it."""
    return _FENCE.findall(text(page))


def prose(page: Path) -> str:
    """Return a page without its fenced blocks."""
    return _FENCE.sub("", text(page))


def heads(page: Path) -> list[str]:
    return re.findall(r"^#+ .+$", prose(page), re.MULTILINE)


def links(page: Path) -> list[str]:
    """Return the targets of a page's links and pictures, but for those of the web."""
    return re.findall(r"\]\((?!https?:)([^)\s]+)\)", prose(page))


def anchors(page: Path) -> set[str]:
    """Return what a link may name behind `#`, as GitHub and the site name it."""
    words = [re.sub(r"[^\w\- ]", "", head.lstrip("#").strip().lower()).replace(" ", "-") for head in heads(page)]
    included = [anchors(REPO / file) for file in re.findall(r"^<!-- include: (.+) -->$", text(page), re.MULTILINE)]
    return {*words, *re.findall(r'<a id="([\w-]+)">', text(page))}.union(*included)


def console_lines(page: Path) -> list[str]:
    """Return the lines of a page's console blocks, without comments."""
    lines = [line for language, body in blocks(page) if language in {"console", "sh"} for line in body.splitlines()]
    return [re.sub(r"\s+#.*", "", line).strip() for line in lines]


def commands(page: Path) -> list[str]:
    """Return a page's command lines: those of its console blocks, and the commands of ours or of yolo in its text."""
    lines = [part.strip() for line in console_lines(page) for part in line.split("&&")]
    return lines + re.findall(r"`((?:yolo|yolo-focal) [^`\n]+)`", prose(page))
