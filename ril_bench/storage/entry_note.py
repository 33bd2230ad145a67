"""What a leaderboard states about an entry, and the levels of its verification."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ril_bench.errors import UserError
from ril_bench.storage import names

Level = Literal["stated", "resampled", "reproduced"]
#: how an entry of a leaderboard was verified, in ascending order: not at all; all of its images were generated again
#: from its adapters; its adapters were trained again besides
LEVELS: tuple[Level, ...] = ("stated", "resampled", "reproduced")


@dataclass(frozen=True)
class EntryNote:
    """What a leaderboard states about an entry, in addition to the files of its run.

    Attributes:
        card: the content of method.yaml.
        revision: the revision of the method.
        several: whether the method has several revisions; then names show the revision.
        record: what the maintainers computed again, as `checked.json` has it; None if they computed nothing.
    """

    card: dict[str, Any]
    revision: str
    several: bool
    record: dict[str, Any] | None

    @property
    def level(self) -> Level:
        """How the entry was verified."""
        found = (self.record or {}).get("level")
        return found if found in LEVELS else LEVELS[0]

    @property
    def verified(self) -> bool:
        """Whether its scores, and the metrics of its images, were computed again from all of its images."""
        return self.level != LEVELS[0]


def refuse_entry(folder: Path) -> None:
    """Raises UserError for the folder of an entry: it may hold no other files, so nothing is written into it."""
    if (folder / names.DIGESTS).is_file():  # a run has its digests in run.json
        raise UserError(
            "this is an entry of a leaderboard, which holds no files but its own",
            where=str(folder),
            hint="name the folder of the run; entries are shown by ril-bench report LEADERBOARD --out site",
        )
