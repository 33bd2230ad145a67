"""Where methods are compared: on one sequence, in one order, with one tuner. There they share seeds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import pandas as pd

from ril_bench.errors import UserError, nearest
from ril_bench.running.plan import GIVEN
from ril_bench.storage.read import StoredRun


class Place(NamedTuple):
    """A sequence, an order of its tasks and a tuner. A method may forget in one order and not in another."""

    sequence: str
    order: str
    tuner: str

    @classmethod
    def of(cls, run: StoredRun) -> Place:
        return cls(run.sequence, run.order, run.tuner)

    def within(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The rows of this place."""
        return frame[(frame[list(self._fields)] == list(self)).all(axis=1)]

    @property
    def words(self) -> list[str]:
        """The three as they are written; the order that a sequence's file gives goes without saying."""
        return [self.sequence, *([] if self.order == GIVEN else [self.order]), self.tuner]

    @property
    def title(self) -> str:
        return " / ".join(self.words)

    def filters(self, method: object = None) -> dict[str, str]:
        """The data attributes of a row or a plot that the site's filters read."""
        return self._asdict() | ({} if method is None else {"method": str(method)})


def by_place(frame: pd.DataFrame) -> Iterator[tuple[Place, pd.DataFrame]]:
    """The rows of each place, in the order in which the places appear."""
    for names, members in frame.groupby(list(Place._fields), sort=False):
        yield Place(*map(str, names)), members


def chosen_places(runs: Sequence[StoredRun], **wanted: Sequence[str]) -> list[StoredRun]:
    """The runs whose sequence, order and tuner are among `wanted`, as sequence=["shapes-ril"]; empty means all.

    Raises UserError for a name that no run has, and where no run has all.
    """
    for field, names in wanted.items():
        known = sorted({getattr(Place.of(run), field) for run in runs})
        for name in names:
            if name not in known:
                raise UserError(
                    f"no run has the {field} {name!r}", where=f"--{field}", hint=nearest(name, known)
                )
    found = [
        run
        for run in runs
        if all(not names or getattr(Place.of(run), field) in names for field, names in wanted.items())
    ]
    if not found:
        titles = dict.fromkeys(Place.of(run).title for run in runs)
        raise UserError(
            "no run has all of these",
            where=", ".join(f"--{field}" for field in wanted),
            hint=f"there are runs of {', '.join(titles)}",
        )
    return found
