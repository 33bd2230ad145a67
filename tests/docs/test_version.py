"""The version is the same wherever a document repeats it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

import ril_bench

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def changelog() -> list[str]:
    """The headings of the versions, newest first."""
    return re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)


def test_the_changelog_begins_with_unreleased_then_the_released_version(changelog):
    assert changelog[0] == "[Unreleased]"
    assert re.fullmatch(rf"\[{re.escape(ril_bench.__version__)}\] - \d{{4}}-\d\d-\d\d", changelog[1])


def test_the_citation_file_and_the_bibtex_entry_have_the_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    bibtex = re.search(r"version = \{(.+?)\}", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert citation["version"] == bibtex[1] == ril_bench.__version__


def test_the_citation_file_and_the_bibtex_entry_have_one_title():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    bibtex = re.search(r"title   = \{(.+?)\}", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert citation["title"] == bibtex[1]
