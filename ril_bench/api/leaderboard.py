"""The verb of the leaderboard, submit, and its dry run."""

from __future__ import annotations

from pathlib import Path

from ril_bench.api.alone import alone
from ril_bench.api.common import Places, places_of
from ril_bench.errors import UserError
from ril_bench.storage.files import expanded


@alone
def submit(
    runs: Places,
    *,
    method_yaml: str | Path,
    to: str | Path = "leaderboard",
    method_file: str | Path | None = None,
) -> list[Path]:
    """Writes leaderboard entries from complete runs of one method; returns their folders.

    Args:
        method_yaml: names the method's authors and how it was tuned; leaderboard/README.md explains it.
        to: the leaderboard's folder.
        method_file: the method's own file, with the content that the runs used; None is where the runs found it. A
            method that ships needs none.

    Raises UserError for everything that `check` would refuse; then nothing is written.
    """
    from ril_bench.leaderboard.submit import submit

    return submit(
        places_of(runs),
        card=expanded(method_yaml),
        board=expanded(to),
        method_file=expanded(method_file),
    )


@alone
def preview_submission(
    runs: Places, *, method_yaml: str | Path | None = None, method_file: str | Path | None = None
) -> list[UserError]:
    """What `submit` and `check` would refuse, all of it at once; an empty list means that they would accept the runs.

    Writes nothing. Any runs are accepted, also unofficial and incomplete ones: each fault is in the list.

    Args:
        method_yaml: as in `submit`; None is one of the faults.
        method_file: as in `submit`.

    Raises UserError where there is no run, or its files are damaged.
    """
    from ril_bench.leaderboard.submit import rehearse

    return rehearse(
        places_of(runs),
        card=expanded(method_yaml),
        method_file=expanded(method_file),
    )
