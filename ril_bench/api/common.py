"""What the functions of the verbs share: types of their arguments, and how to resolve them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ril_bench.api.notebook import Run

if TYPE_CHECKING:
    from ril_bench.running.progress import Reporter

#: Dotted keys and their values, {"budget.updates": 10}, or strings as on the command line, ["budget.updates=10"].
Settings = Mapping[str, Any] | Iterable[str]
Places = Run | str | Path | Sequence[Run | str | Path]

OUT = Path("runs")
DEMO_SEQUENCE = "shapes-conflict"  # two tasks: three runs take about three minutes on two cores
DEMO_METHODS = ("naive", "rid", "soup")
THREADS = 1  # as the leaderboard uses: sums over another number of threads round differently


def reporter_of(quiet: bool, verbose: bool) -> Reporter:
    """The object that prints the progress of a verb."""
    from ril_bench.running.progress import Reporter

    return Reporter(quiet=quiet, verbose=verbose)


def set_network(offline: bool) -> None:
    """Forbids downloads if `offline` is true."""
    if offline:
        from ril_bench.remote.network import go_offline

        go_offline()


def run_of(run: Run | str | Path) -> Run:
    """A run, from its folder."""
    return run if isinstance(run, Run) else Run(run)


def places_of(runs: Places) -> list[Path]:
    """The folders of one run or of several; a single string is one folder."""
    several = [runs] if isinstance(runs, Run | str | Path) else runs
    return [run_of(run).path for run in several]
