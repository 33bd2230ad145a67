"""The verbs of authors: new and check."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Optional

import typer

from ril_bench.cli.common import JsonOption, app, command
from ril_bench.cli.console import say, show_json, show_table
from ril_bench.config.seeds import parse_seeds
from ril_bench.errors import UserError

if TYPE_CHECKING:
    from ril_bench.conformance.suite import CheckResult
    from ril_bench.leaderboard.check import Verdict

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
        str,
        typer.Option(
            metavar="N|all",
            help="Generate this number of images of each step again, and compare scores. all: every image, and the "
            "metrics of images too; only this gives a rank.",
            rich_help_panel=ENTRIES,
        ),
    ] = "0",
    rerun: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            metavar="FILE|shipped",
            help="Train entries again, and compare adapters: of methods that ship, or of this file, which is "
            "executed. Default: train nothing.",
            rich_help_panel=ENTRIES,
        ),
    ] = None,
    rerun_seeds: Annotated[
        str,
        typer.Option(
            metavar="N|all",
            help="How many seeds of each method are trained again, drawn at random.",
            rich_help_panel=ENTRIES,
        ),
    ] = "1",
    steps: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Which steps are trained again, as 1,2. Default: all.", rich_help_panel=ENTRIES),
    ] = None,
    checker_seed: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(
            min=0,
            help="Draws images and seeds, to repeat a check. Default: a new one, which is recorded.",
            rich_help_panel=ENTRIES,
        ),
    ] = None,
    record: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(
            help="A file that records what was verified, for the site. Default: none.",
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
    from ril_bench.api.authors import folder_of

    if folder := folder_of(target):
        again = {
            "resample": _number(resample, "--resample"),
            "rerun": rerun,
            "rerun_seeds": _number(rerun_seeds, "--rerun-seeds"),
            "steps": parse_seeds([steps], "--steps") if steps else (),
            "checker_seed": checker_seed,
        }
        _check_entries(folder, record, since, as_json, again)
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
    _show_mark(result.check, result.outcome)
    for line in filter(
        None, [result.fault, result.hint and f"hint: {result.hint}", result.note and f"note: {result.note}"]
    ):
        say(f"        {line}")


def _number(text: str, option: str) -> int | Literal["all"]:
    """A number that an option states, or all."""
    if text == "all":
        return "all"
    if not text.isdecimal() or len(text) > 6:
        raise UserError(
            f"{text[:40]!r} is no number", where=option, hint=f"write {option} 8, or {option} all"
        )
    return int(text)


def _check_entries(
    folder: Path, record: Path | None, since: str | None, as_json: bool, again: dict[str, Any]
) -> None:
    """Shows each fault as soon as it is known, then a table of all places; exits with 2 if any is refused."""
    from ril_bench.api.authors import check_entries

    verdicts: list[Verdict] = []
    for verdict in check_entries(folder, record=record, since=since, **again):
        verdicts.append(verdict)
        if as_json:
            continue
        if verdict.valid:
            if verdict.resampled:  # that takes a while, and the table comes at the end
                _show_mark(verdict.place, "ok")
            continue
        _show_mark(verdict.place, "refused")
        for note in verdict.faults:
            for line in str(note).splitlines():
                say(f"        {line}")
    refused = sum(not verdict.valid for verdict in verdicts)
    if as_json:
        show_json([verdict.plain() for verdict in verdicts])
    else:
        if verdicts:
            show_table(("place", "level by this check", "computed again"), map(_row, verdicts))
        if (
            seed := next((one.checker_seed for one in verdicts if one.checker_seed is not None), None)
        ) is not None:
            say(f"drawn with --checker-seed {seed}")
        say(f"{refused} of {len(verdicts)} refused" if refused else "all checks passed")
    if refused:
        raise typer.Exit(2)


def _row(verdict: Verdict) -> tuple[str, str, str]:
    """A line of the table: a place, its level or how many faults it has, and what was computed again."""
    count = len(verdict.faults)
    state: str = verdict.level if verdict.entry else "ok"
    if not verdict.valid:
        state = f"{count} fault{'s' if count > 1 else ''}"
    elif not verdict.stands:
        state = "ok, but its revision or its seeds are refused"
    return verdict.place, state, "; ".join(map(str, filter(None, (verdict.resampled, verdict.retrained))))


def _show_mark(text: object, mark: str) -> None:
    """Prints a line after a green "ok", a yellow "skipped", or another word in red."""
    say(text, mark=f"{mark:8}", style_of_mark={"ok": "green", "skipped": "yellow"}.get(mark, "red"))
