"""What a site shows of a leaderboard's entries beside their metrics: who made them, and what was checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ril_bench.reporting.columns import COLUMNS
from ril_bench.reporting.index import baseline_first
from ril_bench.storage.read import StoredRun

RECOMPUTED, REGENERATED, CLAIMED = "recomputed", "regenerated", "claimed"


@dataclass(frozen=True)
class EntryRow:
    """The entries of one method: its method.yaml, and how many images of how many entries were generated again."""

    name: str
    revision: str
    card: dict[str, Any]
    entries: int
    regenerated: int
    images: int


def origins(runs: Sequence[StoredRun]) -> dict[str, str]:
    """How each metric of a leaderboard's entries is known, in one word; empty for runs that are no entries."""
    entries = [run.entry for run in runs if run.entry]
    if not entries:
        return {}
    images = REGENERATED if all(entry.whole for entry in entries) else CLAIMED
    words = {"scores": RECOMPUTED, "images": images, "run": CLAIMED}
    return {column.name: words[column.origin] for column in COLUMNS}


def entry_rows(runs: Sequence[StoredRun]) -> list[EntryRow]:
    """A row for each method: who made it, how it was tuned, and how many images were generated again."""
    by_method: dict[str, list[StoredRun]] = {}
    for run in runs:
        if run.entry:
            by_method.setdefault(run.name, []).append(run)
    rows = []
    for name in sorted(by_method, key=baseline_first):
        notes = [run.entry for run in by_method[name] if run.entry]
        checks = [note.remade for note in notes if note.remade and "images" in note.remade]
        images = sum(check["images"] for check in checks)
        rows.append(EntryRow(name, notes[0].revision, notes[0].card, len(notes), len(checks), images))
    return rows
