"""A static site from many runs: a first page, a page for each run, methods side by side, tables and figures."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from ril_bench.reporting import index, paper, summary
from ril_bench.reporting.answers import answers
from ril_bench.reporting.collapse import MEANING
from ril_bench.reporting.conclusion import comparability, conclusions, provenance
from ril_bench.reporting.entry_rows import entry_rows, origins
from ril_bench.reporting.film import Images
from ril_bench.reporting.glossary import METRICS, better
from ril_bench.reporting.place import Place
from ril_bench.reporting.render import render, script, style
from ril_bench.reporting.run_page import run_page
from ril_bench.reporting.settings import fid_note
from ril_bench.reporting.side_by_side import asked_otherwise, side_by_side
from ril_bench.reporting.strengths import at_equal_learning, strengths
from ril_bench.reporting.tables import write_table
from ril_bench.reporting.text import slugs
from ril_bench.storage.files import write_files
from ril_bench.storage.read import StoredRun


@dataclass(frozen=True)
class SideBySide:
    """Methods of a place at one seed, and the page that shows them side by side."""

    place: Place
    seed: int
    runs: list[StoredRun]
    link: str = ""

    @property
    def names(self) -> list[str]:
        return [run.name for run in self.runs]


def write_site(runs: Sequence[StoredRun], out: Path, left_out: Sequence[str] = ()) -> Path:
    """Writes the site of `runs` into the folder `out`; returns its first page, which opens without a network.

    The site is index.html, pages/ (a page for each run, and one for each place with its methods side by side),
    table.csv, table.md, table.tex, runs.csv, and figures/ as PDF, SVG and PNG. The first page lists `left_out`.

    Raises UserError where the table has holes, or a file of a run cannot be read; then nothing is written.
    """
    table, frame = summary.table(runs), summary.runs_table(runs)
    names = slugs("-".join((r.sequence, r.order, r.name, r.tuner, f"seed-{r.seed}")) for r in runs)
    links = {run.folder: f"{name}.html" for run, name in zip(runs, names, strict=True)}
    sides = list(_sides(runs))
    images = Images(thumbnails=True)
    files = {
        "index.html": _index(
            table, frame, runs, [f"pages/{links[run.folder]}" for run in runs], sides, left_out
        ),
    }
    kinds = {"table.csv": "csv", "table.md": "md", "table.tex": "latex"}
    tables = {name: write_table(table, kind) for name, kind in kinds.items()}
    tables["runs.csv"] = frame.to_csv(index=False, lineterminator="\n")
    files |= {name: words.encode() for name, words in tables.items()}
    for side in sides:
        files[side.link] = side_by_side(
            side.runs, [links[r.folder] for r in side.runs], images, "../index.html"
        )
    for run in runs:
        files[f"pages/{links[run.folder]}"] = run_page(run, images, "../index.html")
    files["pages/style.css"] = style("style.css").encode()
    files |= {f"figures/{name}": data for name, data in paper.figures(table, runs)}
    write_files({out / name: data for name, data in files.items()})
    return out / "index.html"


def _sides(runs: Sequence[StoredRun]) -> Iterator[SideBySide]:
    """For each place: the methods that were asked the same, at the first seed that all have."""
    groups: dict[Place, dict[str, dict[int, StoredRun]]] = defaultdict(lambda: defaultdict(dict))
    for run in runs:
        groups[Place.of(run)][run.name][run.seed or 0] = run
    found = []
    for place, methods in groups.items():
        seed = min(set.intersection(*(set(seeds) for seeds in methods.values())))
        asked: list[list[StoredRun]] = []
        for name in sorted(methods, key=index.baseline_first):
            run = methods[name][seed]
            alike = next((runs for runs in asked if not asked_otherwise(run, runs[0])), None)
            if alike is None:
                asked.append([run])
            else:
                alike.append(run)
        found += [SideBySide(place, seed, runs) for runs in asked if len(runs) > 1]
    for side, name in zip(
        found, slugs(" ".join((*side.place, f"seed {side.seed}")) for side in found), strict=True
    ):
        yield replace(side, link=f"pages/side-by-side-{name}.html")


def _index(
    table: pd.DataFrame,
    frame: pd.DataFrame,
    runs: Sequence[StoredRun],
    links: list[str],
    sides: list[SideBySide],
    left_out: Sequence[str],
) -> bytes:
    entered = entry_rows(runs)
    questions = index.QUESTIONS_OF_A_BOARD if entered else index.QUESTIONS
    shown = index.columns(table, [name for _, names in questions for name in names])
    rows = index.method_rows(table, frame, shown, "FINAL" if entered else "FORGET")
    compared = index.columns(table, index.COMPARED)
    listed, ranked = index.columns(table, index.LISTED), index.columns(table, index.RANKED)
    curves = strengths(runs)
    source, digest = script()
    return render(
        "index.html",
        home=None,
        script=source,
        digest=digest,
        runs=runs,
        tasks={" · ".join(Place.of(run).words[:-1]): run.rewards for run in runs},
        filters={name: sorted(set(frame[name])) for name in ("sequence", "order", "tuner", "method")},
        answers=list(conclusions(table, runs) if entered else answers(table)),
        cautions=[*summary.other_settings(runs), *(comparability(runs) if entered else [])],
        provenance=provenance(runs),
        places=index.places(frame),
        shown=shown,
        head=index.head(shown, questions),
        meanings=[metric for metric in METRICS if metric.name in {*shown, *ranked, *compared, *listed}],
        better={name: better(name) for name in {*shown, *compared, *listed}},
        fid=fid_note(runs),
        rows=[row for row in rows if row.known and not row.oracle],
        oracles=[row for row in rows if row.known and row.oracle],
        stated=[row for row in rows if not row.known],
        collapse=MEANING,
        scales=sorted(set(filter(None, frame["scale"]))),
        compared=compared,
        against=index.against_rows(table, compared),
        planes=list(index.plane_plots(table, curves)),
        equal_columns=index.EQUAL_LEARNING,
        equal=index.equal_learning_rows(table, list(at_equal_learning(frame, curves))),
        sides=sides,
        ranked=ranked,
        rank_rows=index.rank_rows(table, ranked),
        origins=origins(runs),
        entered=entered,
        left_out=left_out,
        listed=listed,
        run_rows=index.run_rows(frame, table, links, listed),
    )
