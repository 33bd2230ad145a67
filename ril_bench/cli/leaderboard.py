"""The verb of the leaderboard: submit."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ril_bench.cli.common import app, command
from ril_bench.cli.console import say


@app.command(epilog="For example: ril-bench submit runs/shapes-ril/given/my_method --method-yaml method.yaml")
def submit(
    runs: Annotated[list[Path], typer.Argument(help="Runs of one method, or folders that hold them.")],
    method_yaml: Annotated[
        Path,
        typer.Option(
            "--method-yaml", help="Who made the method, and how it was tuned; see leaderboard/README.md."
        ),
    ],
    to: Annotated[Path, typer.Option("--to", help="The folder of the leaderboard.")] = Path("leaderboard"),
    every_step: Annotated[
        bool,
        typer.Option(
            "--every-step", help="With the adapters of all steps. Default: with that of the last step alone."
        ),
    ] = False,
) -> None:
    """Write entries of a leaderboard from complete runs; writes nothing that `ril-bench check` would refuse."""
    import ril_bench

    for folder in ril_bench.submit(runs, method_yaml=method_yaml, to=to, every_step=every_step):
        say(folder)
    say(f"next: {command('check', to, '--resample', 8)}, then a pull request with these files")
