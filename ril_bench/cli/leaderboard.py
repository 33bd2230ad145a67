"""The verb of the leaderboard: submit."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from ril_bench.cli.common import app, command
from ril_bench.cli.console import say
from ril_bench.errors import UserError


@app.command(epilog="For example: ril-bench submit runs/shapes-ril/given/my_method --method-yaml method.yaml")
def submit(
    runs: Annotated[
        Optional[list[Path]],  # noqa: UP045
        typer.Argument(help="Runs of one method, or folders that hold them."),
    ] = None,
    method_yaml: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(
            "--method-yaml",
            help="A file that names the method's authors and how it was tuned; see leaderboard/README.md.",
        ),
    ] = None,
    to: Annotated[Path, typer.Option("--to", help="The folder of the leaderboard.")] = Path("leaderboard"),
    method_file: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(
            "--method-file",
            help="The method's own file, with the content that the runs used. Default: where the runs found it.",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Write nothing; list what would be refused. Accepts any run.")
    ] = False,
    template: Annotated[bool, typer.Option("--template", help="Print a method.yaml to fill in.")] = False,
) -> None:
    """Write entries of a leaderboard from complete runs.

    Nothing is written that `ril-bench check` would refuse.
    """
    import ril_bench

    if template:
        from ril_bench.leaderboard.template import TEMPLATE

        print(TEMPLATE, end="")
        return
    if not runs:
        raise UserError("no run is given", where="submit", hint="ril-bench submit RUN --method-yaml FILE")
    if dry_run:
        _rehearse(runs, method_yaml, method_file)
        return
    if method_yaml is None:
        raise UserError(
            "no method.yaml is given",
            where="--method-yaml",
            hint="ril-bench submit --template > method.yaml; fill it in, and name it with --method-yaml",
        )
    from ril_bench.leaderboard.layout import ADAPTER_BYTES, MB
    from ril_bench.leaderboard.submit import lacks_adapters

    entries = ril_bench.submit(runs, method_yaml=method_yaml, to=to, method_file=method_file)
    for entry in entries:
        say(entry)
    if large := sum(map(lacks_adapters, entries)):
        say(
            f"note: {large} of {len(entries)} entries lack adapters, as those above {ADAPTER_BYTES // MB} MB are left "
            "out: their images cannot be generated again, so they stay stated and have no rank"
        )
    method = entries[0].parents[4]  # METHOD/REVISION/SEQUENCE/ORDER/TUNER/seed-N
    say(f"next: {command('check', method, '--resample', 'all')}, then a pull request with these files")


def _rehearse(runs: list[Path], method_yaml: Path | None, method_file: Path | None) -> None:
    """Lists the faults; exits with 2 if there are any, as `submit` would."""
    import ril_bench

    faults = ril_bench.preview_submission(runs, method_yaml=method_yaml, method_file=method_file)
    for fault in faults:
        say(fault, mark="refused ", style_of_mark="red")
    if faults:
        count = f"{len(faults)} fault{'s' if len(faults) > 1 else ''}"
        say(f"{count}: these runs would be refused; nothing was written")
        raise typer.Exit(2)
    say("these runs would be accepted; nothing was written")
