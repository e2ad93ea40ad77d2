"""What the documentation site needs beyond mkdocs' plugins; mkdocs calls these functions (mkdocs.yml, `hooks`).

- A line `<!-- include: CHANGELOG.md -->` becomes that file of the top level, with its links made relative to `docs/`.
- The line that links a page to its translation is left out: the site has a language menu. Links of Chinese pages to
  each other lose their `.zh-CN`, which the i18n plugin adds.
- Line breaks between Chinese characters are taken out: a browser would draw them as spaces.
- Formulas become MathML, which browsers draw without a script.
"""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert

ROOT = Path(__file__).resolve().parents[2]
_INCLUDE = re.compile(r"^<!-- include: ([\w.-]+) -->$", re.MULTILINE)
_TRANSLATION = re.compile(r"^\[(?:中文|English)\]\([\w-]+(?:\.zh-CN)?\.md\)\n", re.MULTILINE)
_TRANSLATED = re.compile(r"(\]\([\w./-]+?)\.zh-CN\.md")
_CHINESE = r"[\u3001-\u9fff\uff00-\uffef]"
_LINE_BREAK = re.compile(rf"(?<={_CHINESE})\n *(?={_CHINESE})")
_FORMULA = re.compile(r'<(span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</\1>', re.DOTALL)


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Return a page's Markdown with its includes, links as the i18n plugin takes them, and no Chinese line breaks."""
    markdown = _TRANSLATION.sub("", markdown, count=1)
    markdown = _TRANSLATED.sub(r"\1.md", markdown)
    return _INCLUDE.sub(_included, _LINE_BREAK.sub("", markdown))


def on_page_content(content: str, **_: Any) -> str:
    """Return a page's HTML with MathML in the place of its formulas."""
    return _FORMULA.sub(_mathml, content)


def _included(match: re.Match[str]) -> str:
    """Return a file without its title: the page that includes it has one of its own."""
    text = (ROOT / match[1]).read_text(encoding="utf-8").partition("\n")[2]
    return re.sub(r"\]\(docs/", "](", text)


def _mathml(match: re.Match[str]) -> str:
    display = "block" if match[2] == "[" else "inline"
    return f'<{match[1]} class="formula">{convert(html.unescape(match[3]), display=display)}</{match[1]}>'
