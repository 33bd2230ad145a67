"""The verbs that read complete runs: score, report, compare and export."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Optional

import typer

from ril_bench.cli.common import SHOWN, JsonOption, app
from ril_bench.cli.console import say, show_json, show_table, warn
from ril_bench.cli.runs import show_run
from ril_bench.config.seeds import parse_seeds
from ril_bench.storage.files import expanded

OnlySequences = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option("--sequence", help="Only runs of this sequence. Repeatable. Default: all."),
]
OnlyOrders = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option("--order", help="Only runs of this order: given, reversed, ... Repeatable. Default: all."),
]
OnlyTuners = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option("--tuner", help="Only runs of this tuner. Repeatable. Default: all."),
]
MetricOption = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option("--metric", help="A metric of the table: FINAL, FORGET, ... Repeatable."),
]


class Format(StrEnum):
    """How a table is written."""

    md = "md"
    csv = "csv"
    latex = "latex"


@contextmanager
def warned() -> Iterator[None]:
    """Prints each warning of the block once, below what the block prints."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        yield
    for message in dict.fromkeys(str(each.message) for each in caught):
        warn(message)


@app.command(epilog="For example: ril-bench score runs/shapes-ril/given/naive/draft/seed-0")
def score(
    run: Annotated[Path, typer.Argument(help="The folder of a run.")],
    as_json: JsonOption = False,
) -> None:
    """Compute the metrics of a run again, from the scores and images in its folder."""
    import ril_bench

    found = ril_bench.score(run)
    if as_json:
        show_json(found.metrics)
    else:
        show_run(found)


@app.command(epilog="For example: ril-bench report runs --out site")
def report(
    runs: Annotated[
        list[Path], typer.Argument(help="Folders of runs, folders that hold runs, or a leaderboard.")
    ],
    out: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--out", help="A folder for a site of all runs. Default: no site."),
    ] = None,
    format: Annotated[
        Optional[Format],  # noqa: UP045
        typer.Option("--format", help="Print the table of all runs in this format. Default: no table."),
    ] = None,
    sequences: OnlySequences = None,
    orders: OnlyOrders = None,
    tuners: OnlyTuners = None,
    metrics: MetricOption = None,
    paired: Annotated[
        bool,
        typer.Option("--paired", help="Print differences to the method naive, run by run. Default: values."),
    ] = False,
    z: Annotated[
        bool,
        typer.Option(
            "--z",
            help="Print the metrics of rewards in standard deviations over prompts too. Default: normalised, where a "
            "sequence is calibrated.",
        ),
    ] = False,
    drop_holes: Annotated[
        bool,
        typer.Option(
            "--drop-holes",
            help="Leave out incomplete runs, and runs that some method lacks. Default: refuse such a table.",
        ),
    ] = False,
) -> None:
    """Report many runs: --out writes a site, --format prints a table.

    Without both, the page of each run is rewritten.
    """
    import ril_bench

    with warned():
        found = ril_bench.report(
            runs, out=out, format=None if format is None else format.value, sequences=sequences or (),
            orders=orders or (), tuners=tuners or (), metrics=metrics or (), paired=paired, z=z, drop_holes=drop_holes,
        )  # fmt: skip
        if format is not None:
            print(found, end="")
        if out is not None:
            words = f"page: {expanded(out) / 'index.html'}"
            (say if format is None else warn)(words)  # a table on stdout is for a file
    for page in found if isinstance(found, list) else ():
        say(f"page: {page}")


@app.command(epilog="For example: ril-bench compare runs/shapes-ril/given/naive runs/shapes-ril/given/rid")
def compare(
    a: Annotated[Path, typer.Argument(help="A run, or a folder that holds the runs of one method.")],
    b: Annotated[Path, typer.Argument(help="Another run or folder. Differences are B - A.")],
    out: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--out", help="A page to write that shows both side by side. Default: no page."),
    ] = None,
    sequences: OnlySequences = None,
    orders: OnlyOrders = None,
    tuners: OnlyTuners = None,
    seeds: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option("--seed", help="Only runs of these seeds: 0-4, or 0,2,5. Default: all."),
    ] = None,
    metrics: MetricOption = None,
    every: Annotated[
        bool,
        typer.Option(
            "--all", help="Print all metrics. Default: those that matter most.", rich_help_panel=SHOWN
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Compare two runs or two methods: B - A, and a verdict.

    Both need the same sequences, orders, tuners and seeds; the options choose what both have.
    """
    import ril_bench
    from ril_bench.reporting.collapse import MARK, MEANING
    from ril_bench.reporting.comparison import JUDGED, main_metrics, verdicts
    from ril_bench.reporting.tables import chosen, compared

    with warned():
        rows = ril_bench.compare(
            a, b, out=out, sequences=sequences or (), orders=orders or (), tuners=tuners or (),
            seeds=parse_seeds(seeds or ()),
        )  # fmt: skip
    shown = rows if every and not metrics else chosen(rows, metrics or main_metrics(rows))
    if as_json:
        show_json((chosen(rows, metrics) if metrics else rows).to_dict("records"))
        return
    for title, (head, *body) in compared(shown):
        show_table(head, body, title=title, numbers=True)
    say("↑ higher is better, ↓ lower is better")
    if rows[["a_collapsed", "b_collapsed"]].to_numpy().any():
        say(f"{MARK} a step of some unit collapsed. {MEANING}.")
    for sentence in verdicts(rows, metrics or JUDGED):
        say(sentence)
    if out is not None:
        say(f"page: {out}")


@app.command(epilog="For example: ril-bench export runs/shapes-ril/given/naive/draft/seed-0 --out my-lora")
def export(
    run: Annotated[Path, typer.Argument(help="The folder of a run, or of an entry of a leaderboard.")],
    out: Annotated[Path, typer.Option("--out", help="A new folder for the LoRA and its model card.")],
    step: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(min=1, help="The step, from 1. Default: the last one."),
    ] = None,
    licence: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            help="The licence of the weights, as an identifier of the Hugging Face hub. You must respect the base "
            "model's licence. Default: apache-2.0 for a model that ships, else none."
        ),
    ] = None,
) -> None:
    """Write the model of a step as a LoRA for diffusers, with a model card for the hub."""
    import ril_bench

    folder = ril_bench.export(run, out, step=step, licence=licence)
    say(folder)
    say(f"next: {folder / 'README.md'} shows how to load it")
