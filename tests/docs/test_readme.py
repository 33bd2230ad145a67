"""Tables and images of the documents are what their commands print and draw."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from matplotlib import style

import ril_bench
from ril_bench import registry
from ril_bench.studies.claims.claim_file import read_claim
from ril_bench.studies.claims.compared import Compared
from ril_bench.studies.claims.verdict import decided
from tests.docs.pages import script

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
COLUMNS = 7
#: the pages that hold the output of a command
SHOWING = script("readme.py").documents()


@pytest.fixture(scope="module")
def readme() -> ModuleType:
    return script("readme.py")


@pytest.fixture(scope="module")
def board_read_once(readme):
    """The leaderboard is checked once for all pages."""
    with readme.board_read_once():
        yield


@pytest.mark.slow
@pytest.mark.parametrize("page", SHOWING, ids=lambda page: page.stem)
def test_tables_are_what_their_commands_print(page, readme, board_read_once):
    text = page.read_text(encoding="utf-8")
    if readme.rendered(text) != text:
        pytest.fail(f"{page.relative_to(ROOT)} shows other numbers than are stored: make readme")


@pytest.mark.parametrize("page", SHOWING, ids=lambda page: page.stem)
def test_no_table_was_left_empty(page, readme):
    for block in readme.BLOCK.finditer(page.read_text(encoding="utf-8")):
        assert block[0].count("\n|") > 2, block["command"]


@pytest.mark.slow
def test_the_page_of_claims_shows_a_stored_verdict(tmp_path, monkeypatch):
    """A verdict beside a claim is shown with its origin, and no longer counts when the claim has changed."""
    claims = script("claims.py")
    shipped = registry.shipped
    shutil.copytree(shipped("tasks"), tmp_path / "tasks")
    monkeypatch.setattr(
        registry, "shipped", lambda folder: tmp_path / folder if folder == "tasks" else shipped(folder)
    )
    claim = read_claim("naive-forgets")
    made = {"commits": ["0123456789"], "date": "2026-01-02", "machines": ["a CPU"], "threads": [1]}
    made |= {"runs": 5, "seconds": 600.0}
    values = [Compared("shapes-ril", "FORGET", [1.0, 1.1, 0.9, 1.2, 0.8], "higher", 0.0)]
    verdict = decided(claim, values, 5, made).model_dump_json()
    claim.file.with_name("naive-forgets.verdict.json").write_text(verdict)
    shown = claims.page()
    assert "| [naive-forgets](#naive-forgets) | held | 5 |" in shown
    made_with = "commit 0123456789, 2026-01-02, a CPU with 1 thread(s) a run: 5 runs of 120 s."
    assert f"**Held**, on 5 seeds: `ril-bench reproduce naive-forgets --seeds 5`, {made_with}" in shown
    assert "| `shapes-ril` | FORGET | +1.00 [0.80, 1.20] | higher than 0 |" in shown
    claim.file.write_text(
        claim.file.read_text().replace("expected: higher}", "expected: higher, margin: 1}", 1)
    )
    assert "| [naive-forgets](#naive-forgets) | not yet run since it was changed |" in claims.page()


def test_the_page_of_metrics_is_the_table_in_the_code():
    stored = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    assert stored == script("generate.py").metrics(), "make readme"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["film-strip.png", "steps.png", "world.png", "tuners.svg", "strengths.svg"])
def test_images_are_what_is_drawn_from_the_stored_numbers(name, tmp_path, monkeypatch):
    figures = script("figures.py")
    stored = figures.IMAGES / name
    monkeypatch.setattr(figures, "IMAGES", tmp_path)
    with style.context(["default", figures.STYLE]):
        figures.saved(figures.FIGURES[name](), name)
    if stored.suffix == ".png":
        # pixels depend on the version of the font renderer, so only the size is compared
        assert (tmp_path / stored.name).read_bytes()[16:24] == stored.read_bytes()[16:24]
        return
    numbers = re.compile(r">[^<>]+<")  # the text: labels and ticks
    assert numbers.findall((tmp_path / stored.name).read_text()) == numbers.findall(stored.read_text())


@pytest.mark.parametrize("page", DOCUMENTS, ids=lambda page: page.stem)
def test_links_and_images_of_a_page_are_there(page):
    """In the repository, where GitHub shows the pages; the site leads some of them to pages of its own."""
    for place in re.findall(r"\]\((?!https?:|#)([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        assert (page.parent / place).exists(), f"{page.name} links to {place}"


@pytest.mark.parametrize("page", DOCUMENTS, ids=lambda page: page.stem)
def test_a_table_has_at_most_seven_columns(page):
    for line in page.read_text(encoding="utf-8").splitlines():
        if re.fullmatch(r"\|(?: ?:?-+:? ?\|)+", line):
            assert line.count("|") - 1 <= COLUMNS


def test_the_shortest_example_prints_what_the_readme_shows(tmp_path: Path) -> None:
    """With every supported version of every library: a part whose weights are not loaded shows here."""
    lines = (ROOT / "README.md").read_text(encoding="utf-8").split("```text\n", 1)[1].splitlines()
    header = next(line.split()[1:] for line in lines if line.split()[:1] == ["step"])
    shown = [list(map(float, line.split()[2:])) for line in lines if re.match(r"  \d ", line)]
    matrix = ril_bench.run("shapes-smoke", method="naive", out=tmp_path, quiet=True).matrix
    assert list(matrix.columns) == header
    assert matrix.to_numpy() == pytest.approx(np.array(shown), rel=5e-3)
