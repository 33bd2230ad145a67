"""The verbs of authors: new and check."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from ril_bench.cli.common import JsonOption, app, command
from ril_bench.cli.console import say, show_json

if TYPE_CHECKING:
    from ril_bench.conformance.suite import CheckResult

ENTRIES = "Checks of a leaderboard"


@app.command(epilog="For example: ril-bench new method my_method")
def new(
    kind: Annotated[str, typer.Argument(help="method, reward, tuner or sequence.")],
    name: Annotated[str, typer.Argument(help="Its name, which is also the name of its file.")],
) -> None:
    """Write a template file that works into the current folder."""
    import ril_bench

    file = ril_bench.new(kind, name)
    say(file)
    say(f"next: {command('check', f'./{file}')}")


@app.command(epilog="For example: ril-bench check ./my_method.py")
def check(
    target: Annotated[
        str,
        typer.Argument(
            help="A method, a sequence, a tuner or a reward, by its name or the path of its file; or the folder of a "
            "leaderboard."
        ),
    ],
    resample: Annotated[
        int,
        typer.Option(
            min=0,
            help="Regenerate this number of images of each entry, and score them.",
            rich_help_panel=ENTRIES,
        ),
    ] = 0,
    record: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(
            help="A file that records which images were regenerated, for the site. Default: none.",
            rich_help_panel=ENTRIES,
        ),
    ] = None,
    since: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            help="A git revision: check what was added after it, and refuse what was changed. Default: check all.",
            rich_help_panel=ENTRIES,
        ),
    ] = None,
    timeout: Annotated[
        float, typer.Option(min=1, help="Seconds after which the check of a file that hangs is stopped.")
    ] = 600,
    as_json: JsonOption = False,
) -> None:
    """Check a method, a sequence, a tuner or a reward, or the entries of a leaderboard.

    A method is checked by running it.

    The exit code is 2 if a check fails.
    """
    if Path(target).is_dir():
        _check_entries(Path(target), resample, record, since, as_json)
    else:
        _check_file(target, timeout, as_json)


def _check_file(reference: str, timeout: float, as_json: bool) -> None:
    from ril_bench.api.authors import check_file

    report = check_file(reference, None if as_json else _show_result, timeout)
    if as_json:
        show_json(report.plain())
    else:
        say(report.verdict)
    if not report.ok:
        raise typer.Exit(2)


def _show_result(result: CheckResult) -> None:
    _show_mark(result.check, "fault" if result.fault else "")
    for line in filter(
        None, [result.fault, result.hint and f"hint: {result.hint}", result.note and f"note: {result.note}"]
    ):
        say(f"        {line}")


def _check_entries(
    folder: Path, resample: int, record: Path | None, since: str | None, as_json: bool
) -> None:
    from ril_bench.api.authors import check_entries

    verdicts = []
    for verdict in check_entries(folder, resample=resample, record=record, since=since):
        verdicts.append(verdict)
        if as_json:
            continue
        _show_mark(verdict.place, "" if verdict.valid else "refused")
        for note in (*verdict.faults, *filter(None, [verdict.resampled])):
            for line in str(note).splitlines():
                say(f"        {line}")
    refused = sum(not verdict.valid for verdict in verdicts)
    if as_json:
        show_json([verdict.plain() for verdict in verdicts])
    else:
        say(f"{refused} of {len(verdicts)} refused" if refused else "all checks passed")
    if refused:
        raise typer.Exit(2)


def _show_mark(text: object, wrong: str) -> None:
    """Prints a line after a green "ok", or after the word `wrong` in red."""
    say(text, mark=f"{wrong or 'ok':8}", style_of_mark="red" if wrong else "green")
