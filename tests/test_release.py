"""What a release says of itself in several files is the same in all of them."""

from __future__ import annotations

import yaml
from support import REPO


def test_the_citation_has_the_version_and_the_paper() -> None:
    citation = yaml.safe_load((REPO / "CITATION.cff").read_text("utf-8"))
    project = (REPO / "pyproject.toml").read_text("utf-8")
    assert f'\nversion = "{citation["version"]}"\n' in project
    assert f'\nlicense = "{citation["license"]}"\n' in project
    assert [paper["url"] for paper in citation["references"]] == ["https://arxiv.org/abs/2203.11926"]


def test_the_changelog_has_the_version() -> None:
    citation = yaml.safe_load((REPO / "CITATION.cff").read_text("utf-8"))
    assert f"\n## {citation['version']}" in (REPO / "CHANGELOG.md").read_text("utf-8")
