"""The report's sentences, in English and in Chinese."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import yaml

_FOLDER = Path(__file__).with_name("locales")


def phrase(lang: str, key: str, **values: Any) -> str:
    """Return a sentence of `locales/<lang>.yaml`, with its names and figures.

    Args:
        lang: "en" or "zh".
        key: Which sentence.
        **values: What it has places for.
    """
    return _sentences(lang)[key].format(**values)


@functools.cache
def _sentences(lang: str) -> dict[str, str]:
    sentences: dict[str, str] = yaml.safe_load((_FOLDER / f"{lang}.yaml").read_text(encoding="utf-8"))
    return sentences
