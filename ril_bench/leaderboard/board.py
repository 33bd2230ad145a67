"""A leaderboard as the runs that its page shows: those that stand, and that can be set beside each other."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from ril_bench.errors import UserError
from ril_bench.leaderboard.check import check
from ril_bench.leaderboard.layout import ENTRIES, METHOD, Address, entries_root
from ril_bench.leaderboard.provenance import noted
from ril_bench.leaderboard.record import read_card
from ril_bench.pages.files import EntryNote, Run, read_run
from ril_bench.summary import BASELINE


def is_board(place: Path) -> bool:
    """Whether a folder is a leaderboard: it holds entries/, or is that."""
    return (place / ENTRIES).is_dir() or place.name == ENTRIES


def read_board(place: Path) -> tuple[list[Run], list[str]]:
    """The entries to compare, and in words those that are left out.

    Every entry is checked first. Raises UserError naming those that do not stand.
    """
    root = entries_root(place)
    verdicts = list(check(root))
    if refused := [verdict.place for verdict in verdicts if not verdict.stands]:
        raise UserError(
            f"{len(refused)} of {len(verdicts)} places do not stand: {', '.join(refused)}",
            where=str(root),
            mend=f"ril-bench check {place} says what is wrong with each",
        )
    entries = [verdict.entry.address for verdict in verdicts if verdict.entry]
    revisions: dict[str, set[str]] = defaultdict(set)
    for one in entries:
        revisions[one.group.method].add(one.group.revision)
    return comparable(_run(root, one, len(revisions[one.group.method]) > 1) for one in entries)


def _run(root: Path, address: Address, several: bool) -> Run:
    group = address.group
    card = read_card(root / group.method / group.revision / METHOD)
    remade = noted(root.parent, address.path.as_posix(), root / address.path)
    note = EntryNote(card.model_dump(mode="json"), group.revision, several, remade)
    read = read_run(root / address.path)
    return Run(read.folder, read.info, note)


def comparable(runs: Iterable[Run]) -> tuple[list[Run], list[str]]:
    """The runs whose methods have every unit (order, seed) that naive has, and in words those that are left out.

    Where a sequence and tuner has no naive, the units are those that any method has. A stranger's entry with fewer
    seeds is thus not averaged with the others', and keeps none of them from being shown.
    """
    groups: dict[tuple[str, str], dict[str, dict[tuple[str, int | None], Run]]] = defaultdict(
        lambda: defaultdict(dict)
    )
    for run in runs:
        groups[run.sequence, run.tuner][run.name][run.order, run.seed] = run
    kept: list[Run] = []
    left_out: list[str] = []
    for (sequence, tuner), methods in groups.items():
        naive = [
            cells
            for cells in methods.values()
            if next(iter(cells.values())).info["method"]["name"] == BASELINE
        ]
        units = {unit for cells in naive or methods.values() for unit in cells}
        for name, cells in methods.items():
            if missing := sorted(f"{order} {seed}" for order, seed in units - set(cells)):
                left_out.append(
                    f"{name} on {sequence} with {tuner}: it lacks {len(missing)} of the {len(units)} units that are "
                    f"compared (order and seed: {', '.join(missing)})"
                )
                continue
            kept += [run for unit, run in cells.items() if unit in units]
            if more := sorted(f"{order} {seed}" for order, seed in set(cells) - units):
                left_out.append(
                    f"{name} on {sequence} with {tuner}: units that no naive has ({', '.join(more)})"
                )
    return kept, left_out
