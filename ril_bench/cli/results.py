"""The verbs that read what runs left, and what there is: list, score, report, compare."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Optional

import typer
from rich.markup import escape
from rich.table import Table

from ril_bench import registry
from ril_bench.cli.common import JsonOption, app, out_console, show_run

MetricOption = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option("--metric", help="A metric to print: FINAL, BWT, ...; repeatable."),
]


@app.command("list")
def list_(
    kind: Annotated[Optional[str], typer.Argument(help=f"One of: {', '.join(registry.KINDS)}.")] = None,  # noqa: UP045
    as_json: JsonOption = False,
) -> None:
    """Sequences, methods, tuners, rewards and models, each with a line on what it is."""
    from ril_bench.reporting.listing import described

    kinds = [_kind(kind)] if kind else list(registry.KINDS)
    found = {each: described(each) for each in kinds}
    if as_json:
        print(json.dumps({each: dict(rows) for each, rows in found.items()}, indent=2))
        return
    for each, rows in found.items():
        table = Table(title=f"{each}s", title_justify="left", title_style="bold", show_header=False, box=None)
        table.add_column(style="cyan", no_wrap=True)
        table.add_column()
        for name, summary in rows:
            table.add_row(escape(name), escape(summary))  # "[code]" is a tag of provenance, not rich's
        out_console.print(table)
        out_console.print()


@app.command()
def score(
    folder: Annotated[Path, typer.Argument(help="A run's folder.")],
    as_json: JsonOption = False,
) -> None:
    """Compute a run's figures again, from the scores and images it stores."""
    from ril_bench.api.notebook import Run
    from ril_bench.reporting import write_page
    from ril_bench.scoring.score import score_run

    metrics = score_run(folder)
    write_page(folder)
    if as_json:
        print(json.dumps(Run(folder).metrics))
        return
    assert metrics
    show_run(Run(folder))


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(help="Folders that are or hold runs, or a leaderboard.")],
    out: Annotated[Optional[Path], typer.Option("--out", help="A folder for the site of all runs.")] = None,  # noqa: UP045
    format_: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--format", help="Print the table instead: md, csv or latex."),
    ] = None,
    metrics: MetricOption = None,
    paired: Annotated[
        bool, typer.Option("--paired", help="Print the differences to naive, unit by unit.")
    ] = False,
) -> None:
    """With --out a site from all runs, with --format their table; otherwise each run's own page anew."""
    import ril_bench
    from ril_bench.reporting import write_page
    from ril_bench.reporting.find import find_runs

    if format_ is not None:
        from ril_bench.api.verbs import load
        from ril_bench.reporting import summary
        from ril_bench.reporting.tables import FORMATS, chosen, write_table

        if format_ not in FORMATS:
            raise typer.BadParameter(f"{format_!r} is none of {', '.join(FORMATS)}", param_hint="--format")
        table = summary.table(load(runs)[0])
        print(write_table(chosen(table, metrics) if metrics else table, format_, paired=paired), end="")
    if out is not None:
        out_console.print(f"page: {ril_bench.report(runs, out)}", soft_wrap=True)
    if out is None and format_ is None:
        _refuse_boards(runs)
        for folder in find_runs(runs):
            out_console.print(f"page: {write_page(folder)}", soft_wrap=True)


@app.command()
def compare(
    a: Annotated[Path, typer.Argument(help="A run, or a folder of one method's runs.")],
    b: Annotated[Path, typer.Argument(help="Another: the difference is B - A.")],
    out: Annotated[Optional[Path], typer.Option("--out", help="A page that shows both side by side.")] = None,  # noqa: UP045
    metrics: MetricOption = None,
    every: Annotated[
        bool, typer.Option("--all", help="Print all metrics; without it, those that matter most.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Compare two runs or two methods on the same sequences, orders, tuners and seeds; B - A, and a verdict."""
    import ril_bench
    from ril_bench.reporting.comparison import main_metrics, verdicts
    from ril_bench.reporting.tables import chosen, compared

    rows = ril_bench.compare(a, b, out)
    if as_json:
        print(rows.to_json(orient="records", indent=2))
        return
    shown = rows if every else chosen(rows, metrics or main_metrics(rows))
    for title, (head, *body) in compared(shown):
        table = Table(*head[:1], title=title, title_justify="left", box=None)
        for name in head[1:]:
            table.add_column(name, justify="right", no_wrap=True)
        for cells in body:
            table.add_row(*map(escape, cells))  # "[low, high]" is an interval, not rich's markup
        out_console.print(table)
    out_console.print("↑ higher is better, ↓ lower is better")
    for sentence in verdicts(rows):
        out_console.print(escape(sentence), soft_wrap=True)
    if out is not None:
        out_console.print(f"page: {out}", soft_wrap=True)


def _refuse_boards(places: list[Path]) -> None:
    """A page written into an entry would be a file that belongs to none."""
    from ril_bench.errors import UserError
    from ril_bench.leaderboard.board import is_board

    for place in filter(is_board, places):
        raise UserError(
            "a leaderboard's pages go into a folder of their own", where=str(place), hint="name it with --out"
        )


def _kind(word: str) -> str:
    from ril_bench.errors import UserError, nearest

    kind = word.removesuffix("s")
    if kind not in registry.KINDS:
        raise UserError(f"there is no kind {word!r}", hint=nearest(kind, registry.KINDS))
    return kind
