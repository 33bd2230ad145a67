"""The site in headless Chromium: what a reader does with it, and what a screen reader makes of it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ril_bench.reporting import summary
from ril_bench.reporting.site import write_site
from ril_bench.storage.entry_note import EntryNote
from ril_bench.storage.read import StoredRun
from tests.reporting.oddities import NAMES, TEXTS, odd_board
from tests.reporting.synthetic import write_runs

sync_api = pytest.importorskip("playwright.sync_api", reason="the extra `browser` is not installed")
axe = pytest.importorskip(
    "axe_playwright_python.sync_playwright", reason="the extra `browser` is not installed"
)
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine")

DESKTOP, PHONE = {"width": 1280, "height": 800}, {"width": 375, "height": 812}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sequences x three methods x five seeds; one method is an oracle, and one's name is markup."""
    folder = tmp_path_factory.mktemp("site")
    runs = write_runs(
        folder / "runs",
        5,
        tuners=["draft"],
        methods=["naive", "ewc", "joint"],
        prompts=4,
        pixels=16,
        updates=5,
    )
    for info in runs.glob("*/given/ewc/*/*/run.json"):
        info.write_text(info.read_text().replace('"name": "ewc"', '"name": "<b>ewc</b>&\'"'))
    return write_site(summary.load([runs]), folder / "site").parent


@pytest.fixture(scope="module")
def leaderboard(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three methods x five seeds as entries; a card's words are markup."""
    folder = tmp_path_factory.mktemp("leaderboard")
    card = {
        "authors": ["<img src=x onerror=alert(1)>"],
        "paper": "https://arxiv.org/abs/2411.17310",
        "code": None,
        "licence": "MIT",
        "description": "</td><script>alert(1)</script>",
        "trials": {"tuned": 3, "private": 1, "how": "by <i>hand</i>"},
    }
    runs = write_runs(
        folder / "runs",
        5,
        sequences=["shapes-ril", "shapes-long"],
        tuners=["draft"],
        methods=["naive", "ewc", "joint"],
        prompts=4,
        pixels=16,
        updates=1,
    )
    entries = [
        StoredRun(
            run.folder,
            EntryNote(
                card, "0123456789ab", False, {"level": "resampled", "checked": "2026-01-02", "version": "1"}
            ),
        )
        for run in summary.load([runs])
    ]
    return write_site(entries, folder / "site", ["someone: it lacks <b>2</b> seeds"]).parent


@pytest.fixture(scope="module")
def odd_leaderboard(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every oddity that a check accepts, on one page (tests/reporting/oddities.py)."""
    folder = tmp_path_factory.mktemp("odd")
    return write_site(odd_board(folder / "runs"), folder / "site", ["W" * 500]).parent


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        # As root, as in most containers, Chromium starts only without its sandbox.
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(chromium: Any) -> Iterator[Any]:
    """A page that may say nothing on its console and ask for nothing but files."""
    opened = chromium.new_page(viewport=DESKTOP)
    messages: list[str] = []
    asked: list[str] = []
    opened.on("console", lambda message: messages.append(message.text))
    opened.on("pageerror", lambda error: messages.append(str(error)))
    opened.on("request", lambda request: asked.append(request.url))
    opened.on("requestfailed", lambda request: messages.append(f"failed: {request.url}"))
    yield opened
    opened.close()
    assert messages == []
    assert asked
    assert all(url.startswith(("file:", "data:")) for url in asked)


def home(page: Any, site: Path, fragment: str = "") -> Any:
    page.goto((site / "index.html").as_uri() + fragment)
    return page


def methods(page: Any, table: str = "methods") -> list[str]:
    """The names of the rows that are seen, in their order."""
    return list(page.locator(f"#{table} tbody tr:visible th[data-value]").all_inner_texts())


def column(page: Any, name: str) -> list[float]:
    """The sort values of a column's visible cells among the honest methods."""
    at = (
        page.locator("#methods thead tr")
        .last.locator("th")
        .evaluate_all("(heads, name) => heads.findIndex((head) => head.dataset.column === name)", name)
    )
    cells = page.locator("#methods tbody").first.locator("tr:visible")
    return [float(row.locator("th, td").nth(at).get_attribute("data-value")) for row in cells.all()]


def test_sorting_both_ways_and_back(page: Any, site: Path) -> None:
    home(page, site)
    before = column(page, "LEARN")
    head = page.locator('#methods th[data-column="LEARN"]')
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "descending"  # what is best first
    assert column(page, "LEARN") == sorted(before, reverse=True)
    head.locator("button").press("Enter")
    assert head.get_attribute("aria-sort") == "ascending"
    assert column(page, "LEARN") == sorted(before)
    page.locator('#methods th[data-column="FORGET"] button').click()
    assert head.get_attribute("aria-sort") is None
    assert column(page, "FORGET") == sorted(column(page, "FORGET"))
    assert methods(page)[-2:] == ["joint"] * 2  # oracles stay apart


def test_filters_meet_and_their_view_has_a_link(page: Any, site: Path, chromium: Any) -> None:
    home(page, site)
    assert page.locator("#count").inner_text() == "30 runs"
    planes = page.locator(".planes figure:visible")
    of_both_sequences = planes.count()
    page.get_by_label("Sequence").select_option("shapes-long")
    assert page.locator("#count").inner_text() == "15 of 30 runs"
    assert len(methods(page)) == 3
    assert 0 < planes.count() == of_both_sequences / 2
    page.get_by_label("Find").fill("nai")
    assert methods(page) == ["naive"]
    assert methods(page, "against") == []
    page.locator('#runs th[data-column="seed"] button').click()
    link = page.url
    other = home(chromium.new_page(), site, "#" + link.partition("#")[2])
    assert methods(other) == ["naive"]
    assert other.get_by_label("Sequence").input_value() == "shapes-long"
    assert other.locator('#runs th[data-column="seed"]').get_attribute("aria-sort") == "ascending"
    other.close()
    page.get_by_role("button", name="Show all").click()
    assert page.locator("#count").inner_text() == "30 runs"
    assert "#" not in page.url


def test_every_view_has_a_link_to_copy(page: Any, leaderboard: Path) -> None:
    home(page, leaderboard)
    page.get_by_label("Sequence").select_option("shapes-long")
    head = page.locator('#ranks th[data-column="LEARN"]')
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "ascending"  # rank 1 first
    assert page.locator("#view").get_attribute("href") == page.url
    page.get_by_role("button", name="Show all").click()
    assert head.get_attribute("aria-sort") is None
    assert page.locator("#view").get_attribute("href") == page.url


def test_a_leaderboard_shows_ranks_provenance_and_how_to_submit(page: Any, leaderboard: Path) -> None:
    home(page, leaderboard)
    ranks = page.locator("#ranks tbody tr")
    assert {name.strip() for name in ranks.locator("th").all_inner_texts()} == {"naive", "ewc"}  # no oracle
    for row in ranks.all():
        assert all(cell.split()[0] in ("1", "2") for cell in row.locator("td:not(.place)").all_inner_texts())
    head = page.locator("#methods thead")
    assert head.locator('th[data-column="FORGET"] .origin').inner_text() == "verified"
    assert head.locator('th[data-column="seconds"] .origin').inner_text() == "stated"
    assert "ril-bench submit" in page.locator("#submit pre").inner_text()
    entered = page.locator("table.entered tbody tr")
    assert entered.count() == 3
    assert "</td><script>alert(1)</script>" in entered.first.inner_text()
    assert page.locator("table.entered img").count() == 0
    page.get_by_text("1 left out of the tables").click()
    assert page.get_by_text("it lacks <b>2</b> seeds").is_visible()


def test_a_name_that_is_markup_is_found_as_text(page: Any, site: Path) -> None:
    home(page, site)
    page.locator("[name=method]").select_option("<b>ewc</b>&'")
    assert set(methods(page)) == {"<b>ewc</b>&'"}
    assert page.locator("#runs b").count() == 0


def test_a_run_opens_and_leads_back(page: Any, site: Path) -> None:
    home(page, site)
    page.locator("#runs tbody th a").first.click()
    assert page.locator("h1").inner_text() == "<b>ewc</b>&' on shapes-long"
    images = page.locator("table.film img")
    assert images.count() == 4 * 4
    assert images.evaluate_all("all => all.every((image) => image.complete && image.naturalWidth > 0)")
    styled = page.locator("main").evaluate("main => getComputedStyle(main).maxWidth")
    assert styled == "1264px"  # the style sheet beside the page was loaded
    page.get_by_role("link", name="All runs").click()
    assert page.locator("#count").inner_text() == "30 runs"
    page.locator(".sides a").first.click()
    assert page.locator("table.headlines tbody tr").count() == 3


def test_without_scripts_the_tables_are_there_and_the_filters_are_not(chromium: Any, site: Path) -> None:
    context = chromium.new_context(java_script_enabled=False)
    page = home(context.new_page(), site)
    assert len(methods(page, "runs")) == 30
    assert not page.locator("#filters").is_visible()
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize(
    "kind", ["index.html", "pages/*joint*seed-0.html", "pages/side-by-side-*draft*.html"]
)
def test_accessible_and_no_wider_than_the_screen(
    chromium: Any, site: Path, kind: str, viewport: dict[str, int], scheme: str
) -> None:
    page = chromium.new_page(viewport=viewport, color_scheme=scheme)
    page.goto(next(iter(sorted(site.glob(kind)))).as_uri())
    found = axe.Axe().run(page).response["violations"]
    grave = [
        (violation["id"], node["target"], node["failureSummary"])
        for violation in found
        if violation["impact"] in ("serious", "critical")
        for node in violation["nodes"][:3]
    ]
    assert grave == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize("board", ["leaderboard", "odd_leaderboard"])
def test_a_leaderboard_is_accessible_too(
    chromium: Any, board: str, viewport: dict[str, int], scheme: str, request: pytest.FixtureRequest
) -> None:
    site = request.getfixturevalue(board)
    test_accessible_and_no_wider_than_the_screen(chromium, site, "index.html", viewport, scheme)


def test_a_phone_shows_numbers_beside_the_names(chromium: Any, leaderboard: Path) -> None:
    page = chromium.new_page(viewport=PHONE)
    page.goto((leaderboard / "index.html").as_uri())
    for table in ("methods", "ranks", "against", "runs"):
        first = page.locator(f"#{table} tbody tr[data-method]").first
        number = first.locator("td:not(.place)").first.bounding_box()
        assert number["x"] + number["width"] <= PHONE["width"], table
    words = (
        page.locator("#methods tbody tr[data-method]").first.locator("th").inner_text().replace("\xa0", " ")
    )
    assert all(word in words for word in ("5 seeds", "resampled"))  # what the hidden columns say
    page.close()


def test_every_accepted_oddity_is_shown_as_text(page: Any, odd_leaderboard: Path) -> None:
    home(page, odd_leaderboard)
    entered = page.locator("table.entered")
    shown = entered.inner_text()
    assert all(text in shown for text in TEXTS)
    assert entered.locator("img, script, b").count() == 0
    assert "and 42 more" in shown  # of 50 authors
    assert len(methods(page)) == len(NAMES)
    page.get_by_label("Find").fill("constructor")
    assert methods(page) == ["constructor"]
    for link in page.locator("#methods a, #runs a").evaluate_all("all => all.map((link) => link.href)"):
        assert link.startswith("file:")
