"""The verbs of authors: new and check."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ril_bench.api.alone import alone
from ril_bench.errors import RilError, UserError
from ril_bench.storage.files import expanded

if TYPE_CHECKING:
    from ril_bench.conformance.check import CheckReport
    from ril_bench.conformance.suite import CheckResult
    from ril_bench.leaderboard.check import Verdict


def new(kind: str, name: str) -> Path:
    """Writes a template file that works into the current folder, and returns its path.

    Args:
        kind: "method", "reward", "tuner" or "sequence".

    Raises UserError for a kind that has no template, or if the file exists already.
    """
    from ril_bench.conformance.scaffold import new

    return new(kind, name)


@alone
def check(
    target: str | Path,
    *,
    resample: int | Literal["all"] = 0,
    rerun: str | Path | None = None,
    rerun_seeds: int | Literal["all"] = 1,
    steps: Sequence[int] = (),
    checker_seed: int | None = None,
    record: str | Path | None = None,
    since: str | None = None,
    timeout: float = 600,
) -> CheckReport | list[Verdict]:
    """Checks a method, sequence, grid, tuner or reward, or the entries of a leaderboard.

    Args:
        target: a name, or the path of a file or a folder.
        resample: entries only: regenerate this number of images of each step, or "all", and compare scores; with "all"
            metrics of images, too.
        rerun: entries only: train them again and compare adapters; "shipped" for methods that ship, or the file of the
            entries' method, which is executed.
        rerun_seeds: entries only: how many seeds of each method are trained again, or "all".
        steps: entries only: which steps are trained again; empty is all.
        checker_seed: entries only: draws images and seeds; None draws a new one, which the verdict has.
        record: entries only: a file that records what was verified, for the site.
        since: entries only: a git revision; only what was added after it is checked, and changes are refused.
        timeout: files only: seconds after which a check that hangs is stopped.

    Returns the report on a file, or one verdict for each entry.

    Raises UserError if there is nothing to check.
    """
    if folder := folder_of(target):
        return list(
            check_entries(
                folder,
                resample=resample,
                rerun=rerun,
                rerun_seeds=rerun_seeds,
                steps=steps,
                checker_seed=checker_seed,
                record=record,
                since=since,
            )
        )
    return check_file(str(target), timeout=timeout)


def folder_of(target: str | Path) -> Path | None:
    """The folder of a leaderboard that a target of `check` names; None for a file, and for a name.

    Raises UserError for a path at which there is nothing.
    """
    folder = expanded(target)
    if "/" in str(target) and not folder.exists():
        raise UserError("there is no such file or folder", where=str(folder.absolute()))
    return folder if folder.is_dir() else None


def check_file(
    reference: str, progress: Callable[[CheckResult], None] | None = None, timeout: float = 600
) -> CheckReport:
    """The report on a method, a sequence, a grid, a tuner or a reward.

    Args:
        progress: is called with each result as soon as it is known.
        timeout: seconds after which a check that hangs is stopped.
    """
    from ril_bench.conformance.check import check

    return check(reference, progress=progress, timeout=timeout)


def check_entries(
    folder: Path,
    *,
    resample: int | Literal["all"] = 0,
    rerun: str | Path | None = None,
    rerun_seeds: int | Literal["all"] = 1,
    steps: Sequence[int] = (),
    checker_seed: int | None = None,
    record: str | Path | None = None,
    since: str | None = None,
) -> Iterator[Verdict]:
    """The verdicts on the entries in a folder, each as soon as it is known and recorded; see `check`.

    A record that cannot be written stops the check before anything is computed; if it fails later, the error comes
    after all verdicts.
    """
    from ril_bench.leaderboard.check import Checker, check
    from ril_bench.leaderboard.checked import note, refuse_unwritable

    recorded = expanded(record)
    checker = Checker(resample, expanded(rerun), rerun_seeds, steps or None, checker_seed)
    if recorded is not None:
        refuse_unwritable(recorded)
    unwritten: RilError | None = None
    for verdict in check(folder, since=since, checker=checker):
        if recorded is not None:
            try:
                note(recorded, verdict)
            except RilError as error:
                unwritten = error
        yield verdict
    if unwritten:
        raise unwritten
