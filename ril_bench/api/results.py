"""The verbs that read complete runs: score, report, compare and export."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ril_bench.api.alone import alone
from ril_bench.api.common import Places, places_of, run_of
from ril_bench.api.notebook import Run
from ril_bench.errors import UserError
from ril_bench.storage.files import expanded

if TYPE_CHECKING:
    import pandas as pd

    from ril_bench.storage.read import StoredRun


@alone
def score(run: Run | str | Path) -> Run:
    """Computes the metrics of a run again, and rewrites its page.

    The metrics are computed from the scores and images in its folder. A run that was made before its sequence was
    calibrated gets the calibration. Raises UserError while a run is at work there, for a folder that holds no run, and
    for an entry of a leaderboard.
    """
    from ril_bench.reporting.run_page import write_page
    from ril_bench.running.run_record import adopt_calibration
    from ril_bench.scoring.score import score_run
    from ril_bench.storage.entry_note import refuse_entry
    from ril_bench.storage.locks import locked
    from ril_bench.storage.read import read_run

    found = run_of(run)
    refuse_entry(found.path)
    read_run(found.path)  # before the lock, which would create the folder
    with locked(found.path):
        adopt_calibration(found.path)
        score_run(found.path)
        write_page(found.path)
    return found


@alone
def report(
    runs: Places,
    *,
    out: str | Path | None = None,
    format: Literal["md", "csv", "latex"] | None = None,
    sequences: Sequence[str] = (),
    orders: Sequence[str] = (),
    tuners: Sequence[str] = (),
    metrics: Sequence[str] = (),
    paired: bool = False,
    z: bool = False,
    drop_holes: bool = False,
) -> Path | str | list[Path]:
    """Reports many runs: as a site in the folder `out`, or as a table in a `format`.

    Args:
        runs: runs, folders that hold runs, or the folder of a leaderboard, whose entries are checked first.
        out: a folder for the site; its first page is returned.
        format: "md", "csv" or "latex": the table is returned as text, whether or not `out` is given.
        sequences: report only runs of these sequences; empty means all.
        orders: only runs of these orders, such as ["given"].
        tuners: only runs of these tuners.
        metrics: the metrics of the table, such as ["FINAL", "FORGET"]; empty means all.
        paired: the table has differences to the method `naive`, run by run.
        z: the table has the metrics of rewards in z too, as "FINAL (z)": in standard deviations of the pretrained
            model's scores over prompts.
        drop_holes: leaves out runs that some method lacks or that are not complete, with a warning for each.

    Without `out` and `format`, it rewrites the page of each run and returns the paths of these pages.

    A table compares methods within a sequence, an order and a tuner. Warns where they ran other settings of the
    sequence. Raises UserError if a run that the table needs is missing or incomplete, if the runs of one method have
    other settings, if an entry fails its checks, or for an option that would change nothing.
    """
    _refuse_unused(out, format, {"--metric": metrics, "--paired": paired, "--z": z}, drop_holes)
    places, wanted = places_of(runs), {"sequence": sequences, "order": orders, "tuner": tuners}
    if out is None and format is None:
        return _rewrite_pages(places, wanted)

    from ril_bench.reporting import holes, summary
    from ril_bench.reporting.place import chosen_places
    from ril_bench.reporting.tables import chosen, write_table

    found, left_out = load(places)
    found = chosen_places(found, **wanted)
    if drop_holes:
        found, dropped = holes.drop_holes(found)
        left_out = [*left_out, *dropped]
        for sentence in dropped:
            warnings.warn(f"left out: {sentence}", stacklevel=2)
    for sentence in summary.other_settings(found):
        warnings.warn(sentence, stacklevel=2)
    if format is not None:  # before the site: a wrong metric is refused, and nothing is written
        table = summary.table(found, z=z)
        text = write_table(chosen(table, metrics) if metrics else table, format, paired=paired)
    if out is not None:
        from ril_bench.reporting.site import write_site

        page = write_site(found, expanded(out), left_out)
    return page if format is None else text


def _refuse_unused(
    out: str | Path | None, format: str | None, of_table: Mapping[str, object], drop_holes: bool
) -> None:
    """Raises UserError for an unknown format, and for an option that would change nothing.

    Args:
        of_table: the options that only a table has, with their values.
    """
    from ril_bench.reporting.tables import FORMATS

    if format is not None and format not in FORMATS:
        raise UserError(
            f"{format!r} is not a format of tables",
            where="--format",
            hint=f"--format {FORMATS[0]}; known: {', '.join(FORMATS)}",
        )
    if unused := [option for option, value in of_table.items() if value and format is None]:
        raise UserError(
            "this changes a table, and none is asked for",
            where=", ".join(unused),
            hint=f"add --format, one of {', '.join(FORMATS)}",
        )
    if of_table["--paired"] and format == "csv":
        raise UserError(
            "a table in csv has values and differences already",
            where="--paired",
            hint="leave it out, or take --format md",
        )
    if drop_holes and format is None and out is None:
        raise UserError(
            "the pages of single runs have no holes",
            where="--drop-holes",
            hint="add --out for a site, or --format for a table",
        )


def _rewrite_pages(places: Sequence[Path], wanted: Mapping[str, Sequence[str]]) -> list[Path]:
    """Rewrites the pages of the wanted runs below the places, and returns their paths."""
    from ril_bench.leaderboard.board import is_board
    from ril_bench.reporting.find import find_runs
    from ril_bench.reporting.place import chosen_places
    from ril_bench.reporting.run_page import write_page
    from ril_bench.storage.entry_note import refuse_entry
    from ril_bench.storage.read import read_run

    for place in filter(is_board, places):
        raise UserError(
            "the pages of a leaderboard need a separate folder",
            where=str(place),
            hint=f"ril-bench report {place} --out site",
        )
    folders = [run.folder for run in chosen_places(list(map(read_run, find_runs(places))), **wanted)]
    for folder in folders:
        refuse_entry(folder)
    return [write_page(folder) for folder in folders]


def load(runs: Places) -> tuple[list[StoredRun], list[str]]:
    """The runs that a report shows, and one line for each entry that it leaves out."""
    from ril_bench.leaderboard.board import is_board, read_board
    from ril_bench.reporting import summary

    places = places_of(runs)
    boards = [place for place in places if is_board(place)]
    if not boards:
        return summary.load(places), []
    if len(places) > 1:
        raise UserError(
            "a leaderboard is reported alone",
            where=str(boards[0]),
            hint=f"ril-bench report {boards[0]} --out site",
        )
    return read_board(boards[0])


def compare(
    a: Run | str | Path,
    b: Run | str | Path,
    *,
    out: str | Path | None = None,
    sequences: Sequence[str] = (),
    orders: Sequence[str] = (),
    tuners: Sequence[str] = (),
    seeds: Sequence[int] = (),
    metrics: Sequence[str] = (),
) -> pd.DataFrame:
    """Compares two runs, or two methods whose runs share sequences, orders, tuners and seeds.

    Args:
        a: a run, or a folder that holds the runs of one method.
        b: another run or folder; differences are b - a.
        out: a page to write that shows the first pair of runs side by side; None writes no page.
        sequences: compare only runs of these sequences; empty means all.
        orders: only runs of these orders, such as ["given"].
        tuners: only runs of these tuners.
        seeds: only runs of these seeds.
        metrics: such as ["FINAL", "FORGET"]; empty means all.

    Returns a row for each sequence, order, tuner and metric: `a_mean`, `a_low`, `a_high`, the same for b, the paired
    `difference` with its 95% interval, the share of seeds with an `improvement`, and `p` of the paired t test.

    Warns where the sides ran other settings of a sequence. Raises UserError if a run has no partner, or if one side
    holds several methods, or runs of other settings.
    """
    from ril_bench.reporting import comparison, summary
    from ril_bench.reporting.place import chosen_places
    from ril_bench.reporting.same_settings import other_sequences
    from ril_bench.reporting.side_by_side import write_side_by_side
    from ril_bench.reporting.tables import chosen

    wanted = {"sequence": sequences, "order": orders, "tuner": tuners}
    sides = [chosen_places(summary.load(places_of(side)), **wanted) for side in (a, b)]
    if seeds:
        sides = [[run for run in side if run.seed in seeds] for side in sides]
        if not all(sides):
            raise UserError("one side has none of these seeds", where=f"--seed {', '.join(map(str, seeds))}")
    rows = comparison.compare(*sides)
    for sentence in other_sequences(*sides):
        warnings.warn(sentence, stacklevel=2)
    if out is not None:
        first = sides[0][0]
        cell = (first.sequence, first.order, first.tuner, first.seed)
        partner = next(r for r in sides[1] if (r.sequence, r.order, r.tuner, r.seed) == cell)
        write_side_by_side([first.folder, partner.folder], expanded(out))
    return chosen(rows, metrics) if metrics else rows


@alone
def export(
    run: Run | str | Path, out: str | Path, *, step: int | None = None, licence: str | None = None
) -> Path:
    """Writes the model of a step as a LoRA for diffusers, with a model card.

    `out` is a new folder.

    Args:
        run: a run, or an entry of a leaderboard.
        step: from 1; None is the last one. Step 0 is the base model itself.
        licence: the licence of the weights, as an identifier of the Hugging Face hub; None is apache-2.0 for a
            model that ships.

    Raises UserError if the folder exists already, or if the step has no adapter.
    """
    from ril_bench.reporting.export import export

    return export(run_of(run).path, expanded(out), step=step, licence=licence)
