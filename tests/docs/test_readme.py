"""The README's tables are what its commands print."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_its_tables_are_what_its_commands_print():
    place = importlib.util.spec_from_file_location("readme", ROOT / "docs" / "readme.py")
    readme = importlib.util.module_from_spec(place)
    place.loader.exec_module(readme)
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(readme.BLOCK.findall(text)) == 2
    if readme.rendered(text) != text:
        pytest.fail("README.md shows other figures than the leaderboard holds: make readme")
