"""The leaderboard's page: only what stands, set beside what it can be compared with, and what is known of it."""

from __future__ import annotations

import io
import json
import re
import shutil
import sys
from dataclasses import replace
from math import nan
from pathlib import Path

import pandas as pd
import pytest
import yaml

import ril_bench
from ril_bench import registry
from ril_bench.cli import main
from ril_bench.errors import UserError
from ril_bench.leaderboard.board import comparable, read_board
from ril_bench.leaderboard.check import check
from ril_bench.leaderboard.checked import note
from ril_bench.leaderboard.layout import revision
from ril_bench.leaderboard.record import MethodCard
from ril_bench.reporting import summary
from ril_bench.reporting.place import Place
from ril_bench.reporting.site import write_site
from ril_bench.storage.digests import sha256_file
from ril_bench.storage.entry_note import EntryNote
from ril_bench.storage.read import StoredRun, read_run
from tests.leaderboard.tampered import CASES
from tests.leaderboard.tampering import card, edit, entry, seal
from tests.leaderboard.world import CARD
from tests.reporting.html import read
from tests.reporting.synthetic import write_run

pytestmark = pytest.mark.usefixtures("without_figures")

NAIVE = sha256_file(registry.shipped("baselines") / "naive.py")
SMALL = {"prompts": 3, "pixels": 16, "updates": 1}


def entered(
    folder: Path, method: str, seeds: int, level: str = "resampled", **options: object
) -> list[StoredRun]:
    """Runs of a method as a leaderboard has them: without images."""
    found = []
    for seed in range(seeds):
        path = write_run(folder / method / f"seed-{seed}", method=method, seed=seed, **(SMALL | options))  # type: ignore[arg-type]
        for step in path.glob("step-*"):
            shutil.rmtree(step)
        if method == "naive":
            edit(path, "run.json", method__file_sha256=NAIVE)
        read = read_run(path)
        found.append(
            StoredRun(read.folder, EntryNote(CARD | {"seeds": seeds}, "abc123", False, {"level": level}))
        )
    return found


@pytest.mark.slow
def test_a_leaderboard_becomes_a_site(honest: Path, tmp_path: Path) -> None:
    site = ril_bench.report([honest], out=tmp_path / "site").parent
    page = read(site / "index.html")
    words = " ".join(page.text.split())
    for expected in (
        "RIL-Bench leaderboard",
        "3 runs",
        "stated",
        "no entry is verified yet",
        "Add a method",
        "B. <b>Author</b>",
    ):
        assert expected in words
    assert "https://arxiv.org/abs/2411.17310" in {link.get("href") for link in page.all("a")}
    one = read(next(site.glob("pages/*seed-0.html")))
    assert [image["alt"].startswith("Contact sheet") for image in one.all("img")] == [True]
    assert not list(honest.rglob("*.html")), "nothing is written into an entry"


def test_an_invalid_entry_is_left_out_and_named(board: Path) -> None:
    CASES[1].tamper(entry(board))
    kept, left_out = read_board(board)
    assert [run.seed for run in kept] == [1, 2]
    assert "seed-0 is refused (digests, matrix): ril-bench check" in left_out[0]


def test_without_a_valid_entry_there_is_no_site(board: Path, tmp_path: Path) -> None:
    card(entry(board)).write_text("authors: []")
    with pytest.raises(UserError, match="no entry is valid: 1 of 4 places are refused"):
        ril_bench.report([board], out=tmp_path / "site")
    assert not (tmp_path / "site").exists()


def test_two_revisions_of_a_method_are_two_rows(board: Path, tmp_path: Path) -> None:
    other = board / "entries" / "naive" / "0123456789ab"
    shutil.copytree(card(entry(board)).parent, other)
    for run in other.rglob("run.json"):
        info = json.loads(run.read_text())
        info["method"]["file_sha256"] = "0" * 64
        run.write_text(json.dumps(info))
    renamed = other.with_name(revision(info["method"]))
    other.rename(renamed)
    for folder in renamed.rglob("seed-*"):
        seal(folder)
    assert "used another file" in str(list(check(renamed))[-1].faults[0])
    for verdict in check(renamed):
        # as a maintainer accepted them when that file shipped, and they stood
        note(board / "checked.json", replace(verdict, stands=True))
    page = read(ril_bench.report([board], out=tmp_path / "site"))
    names = {str(row["data-method"]) for row in page.all("tr") if row.get("data-method")}
    assert names == {"naive", f"naive {renamed.name}"}


def test_a_method_with_fewer_seeds_is_listed_and_the_others_are_shown(tmp_path: Path) -> None:
    runs = [*entered(tmp_path, "naive", 5), *entered(tmp_path, "ewc", 3), *entered(tmp_path, "rid", 6)]
    kept, left_out = comparable(runs)
    assert [(name, sum(run.name == name for run in kept)) for name in ("naive", "ewc", "rid")] == [
        ("naive", 5),
        ("ewc", 0),
        ("rid", 5),
    ]
    assert "ewc on shapes-ril / draft: it lacks 2 of the 5 seeds that are compared (3, 4)" in left_out[0]
    assert "rid on shapes-ril / draft: seeds beyond those that are compared (5)" in left_out[1]
    page = read(write_site(kept, tmp_path / "site", left_out))
    assert "2 left out of the tables" in page.text
    assert left_out[0] in page.text


def test_a_method_without_the_reversed_order_is_compared_in_the_given_one(tmp_path: Path) -> None:
    runs = [*entered(tmp_path, "naive", 3), *entered(tmp_path, "rid", 3)]
    reversed_ones = entered(tmp_path / "reversed", "naive", 2)
    for run in reversed_ones:
        edit(run.folder, "run.json", order="reversed")
    again = [StoredRun(run.folder, run.entry) for run in reversed_ones]
    kept, left_out = comparable([*runs, *again])
    assert not left_out
    assert [(run.name, run.order) for run in kept].count(("naive", "given")) == 3
    assert [(run.name, run.order) for run in kept].count(("naive", "reversed")) == 2


def test_a_method_of_mixed_settings_is_listed_and_the_others_are_shown(tmp_path: Path) -> None:
    naive, rid = entered(tmp_path, "naive", 3), entered(tmp_path, "rid", 3)
    edit(rid[1].folder, "run.json", method__options={"invented": 1})
    kept, left_out = comparable([*naive, *(StoredRun(run.folder, run.entry) for run in rid)])
    assert {run.name for run in kept} == {"naive"}
    assert left_out == [
        "runs of rid on shapes-ril / draft have other settings: method.invented is not set and 1"
    ]
    assert write_site(kept, tmp_path / "site", left_out).is_file()


def test_a_second_entry_of_a_seed_replaces_none(tmp_path: Path) -> None:
    naive, mine, again = (
        entered(tmp_path / name, method, 3) for name, method in (("a", "naive"), ("b", "mine"), ("c", "mine"))
    )
    kept, left_out = comparable([*naive, *mine, *again])
    assert [run.folder for run in kept] == [run.folder for run in [*naive, *mine]]
    assert left_out == [f"mine on {Place.of(mine[0]).title}: a second entry of seed {k}" for k in range(3)]


def test_without_naive_the_seeds_are_those_of_most(tmp_path: Path) -> None:
    ewc, rid = entered(tmp_path, "ewc", 3), entered(tmp_path, "rid", 3)
    kept, left_out = comparable([*ewc, *rid, *entered(tmp_path, "many", 9)])
    assert {run.name: run.seed for run in kept} == {"ewc": 2, "rid": 2, "many": 2}
    assert len(left_out) == 1


def test_an_unknown_naive_sets_no_seeds(tmp_path: Path) -> None:
    ours, theirs = entered(tmp_path, "naive", 3), entered(tmp_path / "x", "naive", 9)
    for run in theirs:
        run.info["method"]["file_sha256"] = "0" * 64
    theirs = [replace(run, entry=replace(run.entry, several=True)) for run in theirs if run.entry]
    kept, _ = comparable([*theirs, *ours])
    assert len(kept) == 6


def test_ranks_are_of_the_honest_with_five_units(tmp_path: Path) -> None:
    keep = {"naive": 0.3, "rid": 0.7, "ewc": 0.31, "joint": 0.95}
    runs = [run for name, share in keep.items() for run in entered(tmp_path, name, 5, keep=share)]
    site = write_site(runs, tmp_path / "site").parent
    table = pd.read_csv(site / "table.csv").set_index(["figure", "method"])
    final = table.loc["FINAL"].sort_values("mean", ascending=False)
    assert list(final["rank"].dropna()) == [1, 2, 3]
    assert final.index[0] == "joint"
    assert final["rank"].isna()["joint"]
    assert (final.loc["rid", "rank_low"], final.loc["rid", "rank_high"]) == (1, 1)
    html = (site / "index.html").read_text()
    ranks = html[html.index('id="ranks"') :]
    assert re.search(r"rid.*?<b>1</b>", ranks[: ranks.index("</table>")], re.S)
    assert "joint" not in ranks[: ranks.index("</table>")]


def test_with_fewer_than_five_units_there_are_no_ranks(tmp_path: Path) -> None:
    runs = [*entered(tmp_path, "naive", 4), *entered(tmp_path, "rid", 4, keep=0.8)]
    site = write_site(runs, tmp_path / "site").parent
    assert pd.read_csv(site / "table.csv")["rank"].isna().all()
    assert 'id="ranks"' not in (site / "index.html").read_text()


def test_only_what_was_computed_again_is_ranked(tmp_path: Path) -> None:
    keep = {"naive": 0.3, "rid": 0.7, "forged": 0.9}
    runs = [
        run
        for name, share in keep.items()
        for run in entered(tmp_path, name, 5, "stated" if name == "forged" else "resampled", keep=share)
    ]
    site = write_site(runs, tmp_path / "site").parent
    table = pd.read_csv(site / "table.csv").set_index(["figure", "method"])
    assert table.loc["FINAL"]["rank"].to_dict() == {
        "naive": 2,
        "rid": 1,
        "forged": pytest.approx(nan, nan_ok=True),
    }
    assert table.loc["seconds"]["rank"].isna().all()
    html = (site / "index.html").read_text()
    answer = html[html.index('class="answers') : html.index("<form")]
    assert "<strong>rid</strong> has the highest FINAL of 2 methods" in answer
    assert "a 64 x 64 embedded study" in answer
    assert "95% interval over 5 runs; resampled" in answer
    assert "forged" not in answer
    assert "Stated only" in html
    words = {
        name: re.search(rf'data-column="{name}".*?class="origin ([\w-]+)"', html, re.S)[1]
        for name in ("FID", "seconds")
    }  # type: ignore[index]
    assert words == {"FID": "in-part", "seconds": "stated"}


def test_what_is_only_stated_changes_no_verdict_on_others(tmp_path: Path) -> None:
    """Holm's correction counts comparisons: a pile of stated entries would make every other one undecided."""
    honest = [*entered(tmp_path, "naive", 5), *entered(tmp_path, "rid", 5, keep=0.5)]
    piled = [run for k in range(6) for run in entered(tmp_path, f"pile-{k}", 5, "stated", keep=0.2 + k / 10)]

    def p_values(runs: list[StoredRun]) -> pd.Series:
        rows = summary.table(runs)
        return rows[rows["method"] == "rid"].set_index("figure")["p_holm"].dropna()

    alone = p_values(honest)
    assert {"FINAL", "FORGET"} <= set(alone.index)
    pd.testing.assert_series_equal(p_values([*honest, *piled]), alone)
    stated_naive = [*entered(tmp_path / "b", "naive", 5, "stated"), *honest[5:]]
    assert p_values(stated_naive).empty
    assert 'id="against"' not in write_site(stated_naive, tmp_path / "site").read_text()


def test_the_first_sentence_names_no_best_method_where_the_runs_tell_none_apart(tmp_path: Path) -> None:
    runs = [*entered(tmp_path, "naive", 5), *entered(tmp_path, "rid", 5, keep=0.36)]
    site = write_site(runs, tmp_path / "site").parent
    html = (site / "index.html").read_text()
    answer = html[html.index('class="answers') : html.index("<form")]
    doubt = answer.index("no method is shown to be the best: ")
    assert doubt < answer.index("has the highest FINAL of 2 methods")
    assert "its runs do not tell it apart from " in answer


def verb(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> object:
    monkeypatch.setattr(sys, "argv", ["ril-bench", *map(str, arguments)])
    with pytest.raises(SystemExit) as left:
        main()
    return left.value.code


def test_the_verb(
    honest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert verb(monkeypatch, "report", honest, "--format", "csv") == 0
    assert set(pd.read_csv(io.StringIO(capsys.readouterr().out))["method"]) == {"naive"}
    assert verb(monkeypatch, "report", honest) == 2
    assert "--out site" in capsys.readouterr().err
    assert verb(monkeypatch, "report", honest, tmp_path, "--out", tmp_path / "site") == 2
    assert "reported alone" in capsys.readouterr().err


def test_no_verb_writes_into_an_entry(board: Path) -> None:
    """`check` would refuse it afterwards."""
    before = sorted(board.rglob("*"))
    entries = [path.parent for path in before if path.name == "run.json"]
    for verb, place in (
        (ril_bench.score, entries[0]),
        (ril_bench.report, entries[0]),
        (ril_bench.report, board.parent),
    ):
        with pytest.raises(UserError, match="an entry of a leaderboard") as caught:
            verb(place)
        assert caught.value.where == str(entries[0])
        assert "--out site" in str(caught.value.hint)
    assert sorted(board.rglob("*")) == before


def test_the_readme_shows_a_card_that_is_one() -> None:
    readme = (Path(__file__).parents[2] / "leaderboard" / "README.md").read_text()
    shown = re.search(r"```yaml\n(.*?)```", readme, re.S)
    assert shown
    assert MethodCard.model_validate(yaml.safe_load(shown[1])).seeds == 10
