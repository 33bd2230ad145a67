"""The verbs as functions: the same names, options and defaults as on the command line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from ril_bench.api.notebook import Run
from ril_bench.config.settings import Settings, parse_settings
from ril_bench.errors import UserError
from ril_bench.machine.compute import compute_of
from ril_bench.machine.parallel import team
from ril_bench.reporting import comparison, summary, write_page_after_run, write_side_by_side
from ril_bench.running.plan import GIVEN, plan_run
from ril_bench.running.progress import Reporter
from ril_bench.storage.read import StoredRun

OUT = Path("runs")


def run(
    sequence: str,
    *,
    method: str,
    seed: int = 0,
    tuner: str | None = None,
    order: str = GIVEN,
    out: str | Path = OUT,
    device: str = "cpu",
    threads: int | None = None,
    compute: Sequence[str] = (),
    settings: Settings | Sequence[str] = (),
    label: str | None = None,
    preset: str | None = None,
    tracker: str | None = None,
    quiet: bool = False,
) -> Run:
    """Runs a sequence with a method, or goes on with it, or finds it done; see `ril-bench run --help`.

    Args:
        order: of the tasks: "given", "reversed", or their numbers, as "2-3-1".
        settings: changes to the sequence and the method: {"budget.updates": 10, "method.strength": 0.1}; or texts, as
            "budget.updates=10".
        preset: published settings by name, as `ril-bench list preset` has them.
        compute: how the arithmetic is done, as "dtype=bfloat16" (`ril_bench.machine.compute`); as the run began
            unless told.
        threads: pinned for the process; the bytes of a result hold at equal threads.
        tracker: "tensorboard" or "wandb", to log to as well.

    Raises UserError for what is wrong with the request, NumericalError where training left the finite numbers.
    """
    from ril_bench.running.runner import Runner
    from ril_bench.running.trackers import Tracker

    plan = plan_run(
        sequence,
        method,
        seed=seed,
        tuner=tuner,
        settings=parse_settings(settings),
        label=label,
        order=order,
        preset=preset,
    )
    folder, reporter = plan.folder(Path(out)), Reporter(quiet=quiet)
    told = Tracker(tracker, folder, str(plan.folder(Path())), plan.identity()) if tracker else None
    runner = Runner(
        plan,
        Path(out),
        device=device,
        threads=threads,
        compute=compute_of(compute) if compute else None,
        tracker=told,
        reporter=reporter,
    )
    path = runner.execute()
    if team().main:
        write_page_after_run(path)
    return Run(path)


def report(runs: Sequence[Run | str | Path], out: str | Path) -> Path:
    """A static site from runs, or from folders that hold runs, in the folder `out`; returns its first page.

    A leaderboard's folder is named alone: its entries are checked first, and shown with who made them.

    Raises UserError where the table has holes: a run that others have is missing, or is not complete; or where an
    entry does not stand.
    """
    from ril_bench.reporting.site import write_site

    found, left_out = load(runs)
    return write_site(found, Path(out), left_out)


def load(runs: Sequence[Run | str | Path]) -> tuple[list[StoredRun], list[str]]:
    """Runs as reports take them, and in words what of a leaderboard is left out; see `report`."""
    from ril_bench.leaderboard.board import is_board, read_board

    places = _places(runs)
    boards = [place for place in places if is_board(place)]
    if not boards:
        return summary.load(places), []
    if len(places) > 1:
        raise UserError(
            "a leaderboard is reported alone", where=str(boards[0]), hint="name it and nothing else"
        )
    return read_board(boards[0])


def compare(a: Run | str | Path, b: Run | str | Path, out: str | Path | None = None) -> pd.DataFrame:
    """Two runs, or two folders of one method's runs, paired by (sequence, order, tuner, seed).

    Returns a row for each sequence, tuner and figure: `a_mean`, `a_low`, `a_high`, the same of b, their paired
    `difference` b - a with its interval, the probability of `improvement`, and `p` of the paired t test. `out`
    is a page to write that shows the first pair side by side.

    Raises UserError where a unit has no partner, or one side holds several methods.
    """
    sides = [summary.load(_places([side])) for side in (a, b)]
    rows = comparison.compare(*sides)
    if out is not None:
        first = sides[0][0]
        cell = (first.sequence, first.order, first.tuner, first.seed)
        partner = next(r for r in sides[1] if (r.sequence, r.order, r.tuner, r.seed) == cell)
        write_side_by_side([first.folder, partner.folder], Path(out))
    return rows


def submit(
    runs: Sequence[Run | str | Path], *, method_yaml: str | Path, to: str | Path, every_step: bool = False
) -> list[Path]:
    """Entries of the leaderboard in the folder `to`, from one method's runs; their folders.

    Args:
        method_yaml: who made the method and how it was tuned; leaderboard/README.md shows one.
        every_step: with the adapters of all steps, not of the last alone.

    Raises UserError for whatever `ril-bench check` would refuse; then nothing is written.
    """
    from ril_bench.leaderboard.submit import submit

    return submit(_places(runs), card=Path(method_yaml), board=Path(to), every_step=every_step)


def _places(runs: Sequence[Run | str | Path]) -> list[Path]:
    return [one.path if isinstance(one, Run) else Path(one) for one in runs]
