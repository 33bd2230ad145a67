"""What a site shows of a leaderboard's entries beside their metrics: who made them, and how they were verified."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ril_bench.reporting.columns import COLUMNS
from ril_bench.reporting.index import baseline_first
from ril_bench.reporting.text import levels
from ril_bench.storage.read import StoredRun

VERIFIED, PARTLY, STATED = "verified", "in part", "stated"


@dataclass(frozen=True)
class EntryRow:
    """The entries of one method: its method.yaml, and how they were verified, in words."""

    name: str
    revision: str
    card: dict[str, Any]
    entries: int
    level: str
    checks: str


def origins(runs: Sequence[StoredRun]) -> dict[str, str]:
    """How each metric of a leaderboard's entries is known, in one word; empty for runs that are no entries."""
    if not any(run.entry for run in runs):
        return {}
    words = {}
    for column in COLUMNS:
        known = {column.known_of(run) for run in runs}
        words[column.name] = PARTLY if len(known) > 1 else VERIFIED if known == {True} else STATED
    return words


def entry_rows(runs: Sequence[StoredRun]) -> list[EntryRow]:
    """A row for each method: who made it, how it was tuned, and how its entries were verified."""
    by_method: dict[str, list[StoredRun]] = {}
    for run in runs:
        if run.entry:
            by_method.setdefault(run.name, []).append(run)
    rows = []
    for name in sorted(by_method, key=baseline_first):
        notes = [run.entry for run in by_method[name] if run.entry]
        records = [note.record for note in notes if note.record]
        days = sorted({str(record["checked"])[:10] for record in records if "checked" in record})
        versions = sorted({str(record["version"]) for record in records if "version" in record})
        checks = f"{', '.join(days)} with version {', '.join(versions)}" if days else ""
        level = levels(note.level for note in notes)
        rows.append(EntryRow(name, notes[0].revision, notes[0].card, len(notes), level, checks))
    return rows
