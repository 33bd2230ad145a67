"""The site is read back by Python's own HTML parser; its links are followed on disk."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
from pathlib import Path
from urllib.parse import unquote
from xml.etree import ElementTree

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ril_bench.errors import UserError
from ril_bench.reporting import paper, summary
from ril_bench.reporting.paper import KINDS
from ril_bench.reporting.pareto import Plane, Point
from ril_bench.reporting.place import Place
from ril_bench.reporting.site import slugs, write_site
from tests.reporting.html import Page, read
from tests.reporting.synthetic import write_run

SMALL = {"prompts": 6, "pixels": 16, "updates": 4}


def grid(out: Path, methods: dict[str, float], seeds: int, **options: object) -> Path:
    for method, keep in methods.items():
        for seed in range(seeds):
            folder = out / f"{len(method)}{method[:3]}" / f"seed-{seed}"
            write_run(folder, method=method, keep=keep, seed=seed, **(SMALL | options))  # type: ignore[arg-type]
    return out


def build(runs: Path, out: Path) -> Path:
    return write_site(summary.load([runs]), out)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return grid(tmp_path_factory.mktemp("runs"), {"naive": 0.3, "rid": 0.7, "joint": 0.95}, 5)


@pytest.fixture(scope="module")
def site(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(runs, tmp_path_factory.mktemp("site")).parent


def test_every_link_leads_to_a_file_of_the_site(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    assert len(pages) == 1 + 15 + 1
    reached = {site / "index.html"}
    for path in pages:
        page = read(path)
        for link in [*page.all("a"), *page.all("link")]:
            href = str(link["href"])
            if href.startswith("data:"):
                continue
            assert ":" not in href
            target = (path.parent / unquote(href)).resolve()
            assert target.is_file(), href
            reached.add(target)
    assert {path.resolve() for path in pages} <= {path.resolve() for path in reached}
    for name in ("table.csv", "table.md", "table.tex", "runs.csv"):
        assert (site / name) in reached


def test_nothing_comes_from_a_network_and_only_our_script_runs(site: Path) -> None:
    for path in site.rglob("*.html"):
        html, page = path.read_text(), read(path)
        assert "://" not in html
        policy = next(str(m["content"]) for m in page.all("meta") if "http-equiv" in m)
        assert policy.startswith("default-src 'none'; img-src data:;")
        scripts = re.findall(r"<script>(.*?)</script>", html, re.S)
        assert len(scripts) == len(page.all("script")) == (path.name == "index.html")
        for source in scripts:
            digest = base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()
            assert f"script-src 'sha256-{digest}'" in policy
        assert not any(key.startswith("on") for _, attributes in page.elements for key in attributes)


def test_the_first_page_answers_its_question(site: Path, runs: Path) -> None:
    page = read(site / "index.html")
    table = summary.table(summary.load([runs])).set_index(["method", "figure"])
    forget = table.loc[("rid", "FORGET")]
    assert f"rid has the lowest FORGET, {forget['mean']:.3f}" in " ".join(page.text.split())
    assert page.text.index("and forgets less than naive") < page.text.index("Oracles: they use")
    cells = [float(str(td["data-value"])) for td in page.all("td") if td.get("data-value")]
    for value in table["mean"].loc[["naive", "rid", "joint"], ["FORGET", "LEARN", "FINAL", "SSIM to step 0"]]:
        assert value in cells


@pytest.mark.usefixtures("without_figures")
def test_with_few_seeds_nothing_is_claimed(tmp_path: Path) -> None:
    grid(tmp_path / "runs", {"naive": 0.3, "rid": 0.7}, 3)
    page = read(build(tmp_path / "runs", tmp_path / "site"))
    words = " ".join(page.text.split())
    assert "3 seeds a method: every point is shown, and below five nothing is claimed." in words
    assert "lowest FORGET" not in words
    table = summary.table(summary.load([tmp_path / "runs"])).set_index(["method", "figure"])
    assert " ".join(f"{v:.3f}" for v in table.loc[("rid", "FORGET"), "points"]) in words


@pytest.mark.usefixtures("without_figures")
def test_methods_with_other_prompts_are_not_set_side_by_side(tmp_path: Path) -> None:
    for method, prompts in {"naive": 3, "rid": 3, "ewc": 2}.items():
        write_run(tmp_path / "runs" / method, method=method, **(SMALL | {"prompts": prompts}))  # type: ignore[arg-type]
    page = read(build(tmp_path / "runs", tmp_path / "site"))
    (side,) = (tmp_path / "site" / "pages").glob("side-by-side-*.html")
    assert "naive, rid" in page.text
    assert "ewc" not in side.read_text()


@pytest.mark.usefixtures("without_figures")
def test_a_step_without_an_update_has_a_site(tmp_path: Path) -> None:
    """A criterion may be met at the start of a task, and an unfinished run has not begun its later tasks."""
    for method in ("naive", "rid"):
        write_run(tmp_path / "runs" / method, method=method, **SMALL)  # type: ignore[arg-type]
    log = tmp_path / "runs" / "rid" / "log.jsonl"
    log.write_text(
        "".join(line for line in log.read_text().splitlines(keepends=True) if '"task": 2' not in line)
    )
    build(tmp_path / "runs", tmp_path / "site")


@pytest.mark.usefixtures("without_figures")
def test_one_run_of_one_task_has_a_site(tmp_path: Path) -> None:
    write_run(tmp_path / "run", tasks=1, **SMALL)  # type: ignore[arg-type]
    page = read(build(tmp_path / "run", tmp_path / "site"))
    assert "FORGET is not defined" in page.text


def test_images_are_small_and_shared_work_is_done_once(site: Path) -> None:
    page = read(next(site.glob("pages/*rid*seed-1.html")))
    for image in page.all("img"):
        kind, _, data = str(image["src"]).partition(",")
        assert kind == "data:image/webp;base64"
        assert Image.open(io.BytesIO(base64.b64decode(data))).size == (16, 16)
    side = read(next(site.glob("pages/side-by-side-*.html")))
    assert len(side.all("img")) == 6 + 3 * 3 * 6


def test_tables_and_figures_for_papers(site: Path, runs: Path) -> None:
    table = pd.read_csv(site / "table.csv")
    assert list(table["figure"].unique()) == list(summary.table(summary.load([runs]))["figure"].unique())
    assert len(pd.read_csv(site / "runs.csv")) == 15
    drawn = {path.name for path in (site / "figures").iterdir()}
    stems = {"FINAL-SSIM-to-step-0", "FORGET-LEARN", "FINAL-denoiser-evaluations", "FINAL-drift"}
    assert drawn == {f"shapes-ril-draft-{s}.{k}" for s in stems for k in KINDS} | {
        f"shapes-ril-given-draft-matrices.{kind}" for kind in KINDS
    }
    for path in (site / "figures").glob("*.pdf"):
        assert path.read_bytes().startswith(b"%PDF")
        assert b"/Type3" not in path.read_bytes()
    words = "".join(
        ElementTree.parse(site / "figures" / "shapes-ril-draft-FORGET-LEARN.svg").getroot().itertext()
    )
    assert all(name in words for name in ("naive", "rid", "joint", "FORGET", "LEARN"))


def test_the_legend_of_many_methods_is_inside_its_figure() -> None:
    points = [
        Point(
            f"method_{k}", series=k, apart=False, x=0.5, x_low=0.4, x_high=0.6, y=0.5, y_low=0.4, y_high=0.6, seeds=(),
            label="",
        )
        for k in range(30)
    ]  # fmt: skip
    plane = Plane(Place("shapes-ril", "given", "draft"), "LEARN", "FINAL", 1, 1, None, None, points)
    figure = paper._plane(plane)
    figure.draw_without_rendering()
    (legend,) = figure.legends
    box, whole = legend.get_window_extent(), figure.bbox
    assert whole.x0 <= box.x0 < box.x1 <= whole.x1
    assert whole.y0 <= box.y0 < box.y1 <= whole.y1


def test_same_runs_give_the_same_bytes(runs: Path, site: Path, tmp_path: Path) -> None:
    again = build(runs, tmp_path / "again").parent
    files = sorted(path.relative_to(site) for path in site.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(again) for path in again.rglob("*") if path.is_file())
    assert all((site / name).read_bytes() == (again / name).read_bytes() for name in files)


def test_a_table_with_holes_makes_no_site(tmp_path: Path) -> None:
    grid(tmp_path / "runs", {"naive": 0.3}, 3)
    grid(tmp_path / "runs", {"rid": 0.3}, 2)
    with pytest.raises(UserError, match="1 hole"):
        build(tmp_path / "runs", tmp_path / "site")
    assert not (tmp_path / "site").exists()


NASTY = ["</script><img src=x onerror=alert(1)>&\"'$x^2$", "a b/../../c\ud800", "A-b", "a-b"]


@pytest.mark.slow
def test_names_are_text_and_files_have_names_of_their_own(tmp_path: Path) -> None:
    for k, name in enumerate(["naive", *NASTY]):
        folder = write_run(tmp_path / "runs" / str(k), method=name, **SMALL)  # type: ignore[arg-type]
        info = json.loads((folder / "run.json").read_text())
        info["order"], info["tuner"]["name"], info["sequence"]["name"] = NASTY[0], NASTY[0], NASTY[0]
        (folder / "run.json").write_text(json.dumps(info))
    site = build(tmp_path / "runs", tmp_path / "site").parent
    pages = {path.name for path in site.glob("pages/*.html")}
    assert len(pages) == 5 + 1
    assert len({name.lower() for name in pages}) == len(pages)
    assert all(re.fullmatch(r"[\w.=+@-]+", name) for name in pages)
    assert {path.name for path in tmp_path.iterdir()} == {"runs", "site"}
    for path in site.rglob("*.html"):
        page = Page(path.read_text())
        assert not any("onerror" in attributes for _, attributes in page.elements)
        assert len(page.all("script")) == (path.name == "index.html")
    index = read(site / "index.html")
    assert all(name.replace("\ud800", "?") in index.text for name in NASTY)
    options = [o["value"] for o in index.all("option")]
    assert NASTY[0] in options
    orders = {row["data-order"] for row in index.all("tr") if row.get("data-order")}
    assert orders == {NASTY[0]}


@given(
    st.lists(st.one_of(st.text(max_size=12), st.sampled_from(["a", "A", "a-2", "a b", "..", "-", "a" * 200])))
)
def test_slugs(texts: list[str]) -> None:
    found = slugs(texts)
    assert len({name.lower() for name in found}) == len(texts)
    for name in found:
        assert re.fullmatch(r"[A-Za-z0-9_=+@][A-Za-z0-9._=+@-]*", name)
        assert len(name) < 130
