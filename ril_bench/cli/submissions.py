"""The verbs that hand results on: submit, and export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from ril_bench.cli.common import app, out_console

BOARD = Path("leaderboard")


@app.command()
def submit(
    runs: Annotated[list[Path], typer.Argument(help="Runs of one method, or folders that hold them.")],
    method_yaml: Annotated[
        Path, typer.Option("--method-yaml", help="Who made the method, and how it was tuned.")
    ],
    to: Annotated[Path, typer.Option("--to", help="The leaderboard's folder.")] = BOARD,
    every_step: Annotated[
        bool,
        typer.Option("--every-step", help="With the adapters of all steps, so that every row can be remade."),
    ] = False,
) -> None:
    """Make entries of a leaderboard from complete runs; nothing is written that `check` would refuse."""
    import ril_bench

    made = ril_bench.submit(runs, method_yaml=method_yaml, to=to, every_step=every_step)
    for folder in made:
        out_console.print(folder, soft_wrap=True)
    out_console.print(
        f"next: ril-bench check {to} --resample 8, then a pull request with these files", soft_wrap=True
    )


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="A run's folder, or an entry's.")],
    out: Annotated[Path, typer.Option("--out", help="A new folder for the LoRA and its card.")],
    step: Annotated[Optional[int], typer.Option(min=1, help="Which step's; the last unless told.")] = None,  # noqa: UP045
    licence: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Of the weights, by the hub's identifier; the base model's binds you."),
    ] = None,
) -> None:
    """The model of a step as a diffusers LoRA with a model card, to load, to share, or to push to the hub."""
    import ril_bench

    folder = ril_bench.export(run, out, step=step, licence=licence)
    out_console.print(folder, soft_wrap=True)
    out_console.print(f'next: pipe.load_lora_weights("{folder}")', soft_wrap=True, highlight=False)
