"""The documentation site builds without a warning, and needs no network.

It has every command and every public name.
"""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
import typer

import ril_bench
from ril_bench import cli

pytest.importorskip(
    "mkdocs", reason="the extra docs is not installed; make docs installs it and runs this file"
)

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site; a warning, such as a broken link, fails the build."""
    folder = tmp_path_factory.mktemp("site")
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NO_MKDOCS_2_WARNING", "1")
        config = load_config(str(ROOT / "mkdocs.yml"), site_dir=str(folder), strict=True)
        build(config)
    return folder


class Resources(HTMLParser):
    """The addresses that a browser loads by itself when it opens a page."""

    def __init__(self, page: str):
        super().__init__()
        self.found: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag in ("img", "script", "iframe"):
            self.found.append(given.get("src") or "")
        elif tag == "link" and given.get("rel") not in ("canonical", "next", "prev", "edit"):
            self.found.append(given.get("href") or "")


def test_it_loads_nothing_from_the_network(site):
    pages = list(site.rglob("*.html"))
    assert len(pages) > 15
    for page in pages:
        loaded = Resources(page.read_text(encoding="utf-8")).found
        assert not [address for address in loaded if re.match(r"(https?:)?//", address)], page
    for sheet in site.rglob("*.css"):
        assert not re.search(r"url\([\"']?https?:|@import", sheet.read_text(encoding="utf-8")), sheet


def test_every_command_has_its_section_with_all_options(site):
    text = (site / "reference" / "commands.html").read_text(encoding="utf-8")
    for name, command in typer.main.get_command(cli.app).commands.items():
        assert f">ril-bench {name}<" in text
        for option in command.params:
            if option.param_type_name == "option" and not getattr(option, "hidden", False):
                assert all(f"<code>{word}</code>" in text for word in option.opts if word != "--help")


def test_every_public_name_is_in_the_api_reference(site):
    text = (site / "reference" / "api.html").read_text(encoding="utf-8")
    for name in ril_bench.__all__:
        if not name.startswith("_"):
            assert f'id="ril_bench.{name}"' in text, name
