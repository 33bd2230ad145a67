"""The verb of the leaderboard: submit."""

from __future__ import annotations

from pathlib import Path

from ril_bench.api.common import Places, places_of


def submit(
    runs: Places, *, method_yaml: str | Path, to: str | Path = "leaderboard", every_step: bool = False
) -> list[Path]:
    """Writes leaderboard entries from complete runs of one method; returns their folders.

    Args:
        method_yaml: names the method's authors and how it was tuned; leaderboard/README.md explains it.
        to: the leaderboard's folder.
        every_step: include the adapters of all steps, not only the last one.

    Raises UserError for everything that `check` would refuse; then nothing is written.
    """
    from ril_bench.leaderboard.submit import submit

    return submit(places_of(runs), card=Path(method_yaml), board=Path(to), every_step=every_step)
