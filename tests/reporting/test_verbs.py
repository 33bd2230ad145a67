"""`ril-bench report` and `compare`, from the command line and from Python."""

from __future__ import annotations

import io
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

import ril_bench
from ril_bench.cli import main
from ril_bench.reporting import summary, text
from tests.reporting.html import read
from tests.reporting.synthetic import write_run

pytestmark = pytest.mark.usefixtures("without_figures")

Verb = Callable[..., tuple[object, str, str]]


@pytest.fixture
def verb(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Verb:
    def call(*arguments: object) -> tuple[object, str, str]:
        monkeypatch.setattr(sys, "argv", ["ril-bench", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        return (ended.value.code, *capsys.readouterr())

    return call


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs")
    for method, keep in {"naive": 0.3, "rid": 0.8}.items():
        for seed in range(5):
            write_run(
                out / method / f"seed-{seed}",
                method=method,
                keep=keep,
                seed=seed,
                prompts=3,
                pixels=16,
                updates=2,
            )
    return out


def test_report_prints_the_table(verb: Verb, runs: Path) -> None:
    code, printed, _ = verb("report", runs, "--format", "csv")
    assert code == 0
    assert set(pd.read_csv(io.StringIO(printed))["method"]) == {"naive", "rid"}
    assert "| FORGET |" in verb("report", runs, "--format", "md")[1]
    assert r"\toprule" in verb("report", runs, "--format", "latex")[1]
    assert not list(runs.rglob("report.html"))


def test_report_prints_some_metrics_and_their_differences_to_naive(verb: Verb, runs: Path) -> None:
    every = pd.read_csv(io.StringIO(verb("report", runs, "--format", "csv")[1]))
    asked = ("--metric", "BWT", "--metric", "SSIM to step 0", "--metric", "FINAL")
    printed = verb("report", runs, "--format", "csv", *asked)[1]
    assert list(dict.fromkeys(pd.read_csv(io.StringIO(printed))["figure"])) == [
        "BWT",
        "SSIM to step 0",
        "FINAL",
    ]
    table = verb("report", runs, "--format", "md", "--paired", *asked)[1]
    row = next(line for line in table.splitlines() if line.startswith("| BWT |"))
    difference = every[(every["figure"] == "BWT") & (every["method"] == "rid")]["difference"].item()
    assert "|  | rid |" in table.splitlines()  # not naive itself
    assert row.split("|")[2].split()[0] == text.short(difference)
    code, _, complaint = verb("report", runs, "--format", "md", "--metric", "FINALS")
    assert code == 2
    assert "did you mean 'FINAL'?" in complaint


def test_report_of_one_order(verb: Verb, tmp_path: Path) -> None:
    for order in ("given", "reversed"):
        run = write_run(tmp_path / order, prompts=3, pixels=16, updates=1)
        info = json.loads((run / "run.json").read_text())
        info["tuner"]["name"] = {"given": "draft", "reversed": "refl"}[order]
        (run / "run.json").write_text(json.dumps(info | {"order": order}))
    _, printed, beside = verb(
        "report", tmp_path, "--format", "csv", "--order", "reversed", "--out", tmp_path / "site"
    )
    assert set(pd.read_csv(io.StringIO(printed))["order"]) == {"reversed"}
    assert "page: " in beside  # not in the table
    assert set(pd.read_csv(tmp_path / "site" / "runs.csv")["order"]) == {"reversed"}
    neither = verb("report", tmp_path, "--format", "csv", "--order", "given", "--tuner", "refl")
    assert neither[0] == 2
    assert "there are runs of shapes-ril / draft, shapes-ril / reversed / refl" in " ".join(
        neither[2].split()
    )
    code, _, complaint = verb("report", tmp_path, "--format", "csv", "--sequence", "shapes-rill")
    assert code == 2
    assert "did you mean 'shapes-ril'?" in complaint


def test_below_five_seeds_every_paired_difference_is_shown(verb: Verb, tmp_path: Path) -> None:
    for method in ("naive", "rid"):
        for seed in range(3):
            place = tmp_path / method / f"seed-{seed}"
            write_run(place, method=method, seed=seed, prompts=3, pixels=16, updates=2)
    read = summary.runs_table(summary.load([tmp_path])).set_index(["method", "seed"])["FINAL"]
    table = verb("report", tmp_path, "--format", "md", "--paired", "--metric", "FINAL")[1]
    cells = table.splitlines()[-1].split("|")
    assert cells[-2].strip() == ", ".join(text.short(read["rid"][k] - read["naive"][k]) for k in range(3))


def test_report_refuses_an_unknown_format_and_a_hole(verb: Verb, runs: Path) -> None:
    code, printed, complaint = verb("report", runs, "--format", "html")
    assert (code, printed) == (2, "")
    assert "'md', 'csv', 'latex'" in complaint
    code, printed, complaint = verb("report", runs / "naive", runs / "rid" / "seed-1", "--format", "md")
    assert (code, printed) == (2, "")
    assert complaint.count("ril-bench run shapes-ril --method rid --seed") == 4


def test_report_makes_a_site(verb: Verb, runs: Path, tmp_path: Path) -> None:
    code, printed, _ = verb("report", runs, "--out", tmp_path / "site")
    assert code == 0
    assert f"page: {tmp_path / 'site' / 'index.html'}" in printed
    assert (
        ril_bench.report([runs / "naive", runs / "rid"], out=tmp_path / "again")
        == tmp_path / "again" / "index.html"
    )
    first, second = (read(tmp_path / name / "index.html").text for name in ("site", "again"))
    assert first == second


def test_report_alone_rewrites_each_page(verb: Verb, tmp_path: Path) -> None:
    write_run(tmp_path / "a" / "b", prompts=2, pixels=16, updates=1)
    write_run(tmp_path / "c", prompts=2, pixels=16, updates=1, status="failed")
    code, printed, _ = verb("report", tmp_path)
    assert code == 0
    assert printed.count("page: ") == 2
    assert (tmp_path / "c" / "report.html").is_file()


def test_report_alone_rewrites_the_pages_of_the_chosen_runs(verb: Verb, tmp_path: Path) -> None:
    for tuner in ("draft", "refl"):
        write_run(tmp_path / tuner, prompts=2, pixels=16, updates=1, tuner=tuner)
    assert verb("report", tmp_path, "--tuner", "refl")[0] == 0
    assert list(tmp_path.rglob("report.html")) == [tmp_path / "refl" / "report.html"]
    code, _, complaint = verb("report", tmp_path, "--sequence", "shapes-rill")
    assert code == 2
    assert "did you mean 'shapes-ril'?" in complaint


@pytest.mark.parametrize("given", [["--metric", "FINALS"], ["--paired"], ["--z"]])
@pytest.mark.parametrize("site", [False, True])
def test_report_refuses_what_only_a_table_has(
    verb: Verb, runs: Path, tmp_path: Path, given: list[str], site: bool
) -> None:
    code, _, complaint = verb("report", runs, *given, *(["--out", tmp_path / "site"] if site else []))
    assert code == 2
    assert given[0] in complaint
    assert "add --format" in complaint
    assert not list(runs.rglob("report.html"))
    assert not (tmp_path / "site").exists()


def test_report_refuses_paired_for_csv_which_has_both(verb: Verb, runs: Path) -> None:
    code, _, complaint = verb("report", runs, "--format", "csv", "--paired")
    assert code == 2
    assert "--paired" in complaint
    assert {"mean", "difference"} <= set(pd.read_csv(io.StringIO(ril_bench.report(runs, format="csv"))))


def test_report_refuses_to_drop_holes_of_pages(verb: Verb, runs: Path) -> None:
    code, _, complaint = verb("report", runs, "--drop-holes")
    assert code == 2
    assert "--out for a site, or --format for a table" in " ".join(complaint.split())
    assert not list(runs.rglob("report.html"))


def test_a_site_and_a_table_come_from_one_reading(
    verb: Verb, runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A board is checked whenever it is read, which takes minutes."""
    readings: list[object] = []
    load = summary.load
    monkeypatch.setattr(summary, "load", lambda places: readings.append(places) or load(places))
    both = ("--format", "csv", "--out", tmp_path / "site")
    code, printed, beside = verb("report", runs, *both)
    assert (code, len(readings)) == (0, 1)
    assert set(pd.read_csv(io.StringIO(printed))["method"]) == {"naive", "rid"}
    assert f"page: {tmp_path / 'site' / 'index.html'}" in beside
    code, _, _ = verb("report", runs, "--metric", "FINALS", "--format", "csv", "--out", tmp_path / "none")
    assert code == 2
    assert not (tmp_path / "none").exists()


def test_compare_two_methods_and_two_runs(verb: Verb, runs: Path, tmp_path: Path) -> None:
    code, printed, _ = verb("compare", runs / "naive", runs / "rid", "--out", tmp_path / "side.html")
    assert code == 0
    assert "shapes-ril / draft (normalised, 5 seeds)" in printed
    assert "FORGET" in printed
    assert len(read(tmp_path / "side.html").all("table")) > 3
    rows = json.loads(verb("compare", runs / "naive", runs / "rid", "--json")[1])
    forget = next(row for row in rows if row["figure"] == "FORGET")
    assert forget["difference"] == pytest.approx(forget["b_mean"] - forget["a_mean"])
    assert forget["difference"] < 0
    assert forget["improvement"] == 1.0
    one = ril_bench.compare(runs / "naive" / "seed-0", runs / "rid" / "seed-0").set_index("figure")
    assert one.loc["FORGET", "a_points"] == (one.loc["FORGET", "a_mean"],)
    assert pd.isna(one.loc["FORGET", "difference_low"])


def test_compare_refuses_different_seeds(verb: Verb, runs: Path) -> None:
    code, _, complaint = verb("compare", runs / "naive" / "seed-0", runs / "rid" / "seed-1")
    assert code == 2
    assert "seed 0, only in A; seed 1, only in B" in complaint


def test_compare_some_seeds(verb: Verb, runs: Path) -> None:
    code, _, complaint = verb("compare", runs / "naive", runs / "rid" / "seed-1")
    assert code == 2
    assert "--seed" in complaint
    code, printed, _ = verb("compare", runs / "naive", runs / "rid" / "seed-1", "--seed", "1")
    assert code == 0
    assert "1 pair" in printed
    code, _, complaint = verb("compare", runs / "naive", runs / "rid", "--seed", "7-9")
    assert code == 2
    assert "none of these seeds" in complaint


def test_compare_what_both_have(verb: Verb, runs: Path, tmp_path: Path) -> None:
    """A method that ran more orders than another is compared in the order of both."""
    for order, seed in (("given", 0), ("reversed", 0)):
        run = write_run(tmp_path / order, prompts=3, pixels=16, seed=seed, updates=2)
        info = json.loads((run / "run.json").read_text())
        (run / "run.json").write_text(json.dumps(info | {"order": order}))
    code, _, complaint = verb("compare", tmp_path, runs / "rid" / "seed-0")
    assert code == 2
    assert "--order" in complaint
    code, printed, _ = verb("compare", tmp_path, runs / "rid" / "seed-0", "--order", "given")
    assert code == 0
    assert "reversed" not in printed
    code, _, complaint = verb("compare", tmp_path, runs / "rid" / "seed-0", "--order", "reversed")
    assert code == 2
    assert "no run has the order 'reversed'" in complaint


def test_compare_prints_the_main_metrics_and_a_verdict(verb: Verb, runs: Path) -> None:
    printed = verb("compare", runs / "naive", runs / "rid")[1]
    head, first = (
        line for line in printed.splitlines() if line.strip("┃│ ").startswith(("metric", "↓ FORGET"))
    )
    assert "A: naive" in head
    assert "B: rid" in head
    assert first
    assert re.search(r"^rid forgets less than naive: FORGET −.*; distinguishable at 5 pairs", printed, re.M)
    assert "brightness" in printed
    assert "AVG-INC" not in printed
    assert "AVG-INC" in verb("compare", runs / "naive", runs / "rid", "--all")[1]
    chosen = verb("compare", runs / "naive", runs / "rid", "--metric", "Vendi")[1]
    assert "↑ Vendi" in chosen
    assert "FINAL" not in chosen
    assert "FORGET" not in chosen  # the verdict is about what was asked for
    assert re.search(r"^rid is .* than naive: Vendi|^rid against naive: Vendi", chosen, re.M)
    assert re.search(r"^rid .*naive: FINAL", printed, re.M)
    few = verb("compare", runs / "naive" / "seed-0", runs / "rid" / "seed-0")[1]
    assert "1 pair cannot show a difference, 5 are needed" in few


def test_uncalibrated_runs_have_a_table(verb: Verb, tmp_path: Path) -> None:
    write_run(tmp_path / "run", prompts=3, pixels=16, updates=1, calibrated=False)
    code, printed, _ = verb("report", tmp_path, "--format", "md")
    assert code == 0
    assert "**shapes-ril / draft (z, 1 seed)**" in printed


def test_holes_are_dropped_if_asked(verb: Verb, runs: Path, tmp_path: Path) -> None:
    code, printed, warned = verb(
        "report", runs / "naive", runs / "rid" / "seed-1", "--format", "csv", "--drop-holes"
    )
    assert code == 0
    assert set(pd.read_csv(io.StringIO(printed))["seeds"]) == {1}
    assert "left out: naive on shapes-ril / draft" in warned
    assert "seeds 0, 2, 3, 4" in " ".join(warned.split())
