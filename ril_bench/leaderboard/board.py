"""The runs that the page of a leaderboard shows: valid entries that can be compared with each other."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from ril_bench.errors import UserError
from ril_bench.leaderboard.check import check
from ril_bench.leaderboard.checked import noted
from ril_bench.leaderboard.layout import ENTRIES, Address, entries_root
from ril_bench.leaderboard.method_names import shipped_digest
from ril_bench.leaderboard.record import read_card
from ril_bench.reporting.place import Place
from ril_bench.reporting.same_settings import refuse_mixed
from ril_bench.reporting.summary import BASELINE, runs_table
from ril_bench.storage import names
from ril_bench.storage.entry_note import EntryNote
from ril_bench.storage.read import StoredRun, read_run


def is_board(place: Path) -> bool:
    """Whether a folder is a leaderboard: it holds entries/, or it is entries/."""
    return (place / ENTRIES).is_dir() or place.name == ENTRIES


def read_board(place: Path) -> tuple[list[StoredRun], list[str]]:
    """The entries to compare, and a sentence for each that is left out.

    Every entry is checked first; an invalid one is left out, and the others stay. Raises UserError where none is valid.
    """
    root = entries_root(place)
    verdicts = list(check(root))
    refused = [verdict for verdict in verdicts if not verdict.valid]
    runs, unread = [], []
    for verdict in verdicts:
        if verdict.entry and verdict.valid and verdict.stands:
            try:
                run = _run(root, verdict.entry.address)
                runs_table([run])
                runs.append(run)
            except Exception as error:  # one entry never keeps the others off the page
                unread.append(f"{verdict.place} cannot be read: {type(error).__name__}: {error}"[:300])
    if not runs:
        raise UserError(
            f"no entry is valid: {len(refused)} of {len(verdicts)} places are refused",
            where=str(root),
            hint=f"ril-bench check {place} lists the faults of each",
        )
    kept, left_out = comparable(_with_revisions(runs))
    sentences = (
        f"{verdict.place} is refused ({', '.join(dict.fromkeys(one.check for one in verdict.faults))}): "
        f"ril-bench check {place} lists its faults"
        for verdict in refused
    )
    return kept, [*sentences, *unread, *left_out]


def _run(root: Path, address: Address) -> StoredRun:
    group = address.group
    card = read_card(root / group.method / group.revision / names.METHOD_CARD)
    record = noted(root.parent, address.path.as_posix(), root / address.path)
    note = EntryNote(card.model_dump(mode="json"), group.revision, False, record)
    return replace(read_run(root / address.path), entry=note)


def _with_revisions(runs: Sequence[StoredRun]) -> list[StoredRun]:
    """The runs; where a method has several revisions, each but the one that ships shows its revision."""
    revisions: dict[str, set[str]] = defaultdict(set)
    for run in runs:
        revisions[run.name].add(run.entry.revision if run.entry else "")
    return [
        replace(run, entry=replace(run.entry, several=True))
        if run.entry and len(revisions[run.name]) > 1 and not _ships(run)
        else run
        for run in runs
    ]


def _ships(run: StoredRun) -> bool:
    """Whether a run is of a method that ships, with the file that ships now."""
    method = run.info["method"]
    return method["file_sha256"] is not None and method["file_sha256"] == shipped_digest(method["name"])


def comparable(runs: Iterable[StoredRun]) -> tuple[list[StoredRun], list[str]]:
    """The runs of methods that have every seed of naive in their place, and a sentence for each that is left out.

    A method whose runs have other settings is left out, too.

    Where a place has no naive of the file that ships, the seeds are those that most methods have. So an
    entry with fewer seeds, with more seeds, or of another "naive" does not keep the others off the page.
    """
    groups: dict[Place, dict[str, dict[int | None, StoredRun]]] = defaultdict(lambda: defaultdict(dict))
    kept: list[StoredRun] = []
    left_out: list[str] = []
    for run in runs:
        if groups[Place.of(run)][run.name].setdefault(run.seed, run) is not run:
            left_out.append(f"{run.name} on {Place.of(run).title}: a second entry of seed {run.seed}")
    for place, methods in groups.items():
        naive = [run for run in methods.get(BASELINE, {}).values() if _ships(run)]
        seeds = {run.seed for run in naive} or _most(methods.values())
        for name, cells in methods.items():
            try:
                refuse_mixed(cells.values())
            except UserError as error:  # its runs have no mean, and no method keeps the others off the page
                left_out.append(error.what)
                continue
            if missing := sorted(map(str, seeds - set(cells))):
                left_out.append(
                    f"{name} on {place.title}: it lacks {len(missing)} of the {len(seeds)} seeds that are compared "
                    f"({', '.join(missing)})"
                )
                continue
            kept += [run for seed, run in cells.items() if seed in seeds]
            if more := sorted(map(str, set(cells) - seeds)):
                left_out.append(
                    f"{name} on {place.title}: seeds beyond those that are compared ({', '.join(more)})"
                )
    return kept, left_out


def _most(methods: Iterable[Collection[int | None]]) -> set[int | None]:
    """The seeds that most methods have; of two such sets the larger."""
    sets = Counter(frozenset(cells) for cells in methods)
    seeds, _ = max(sets.items(), key=lambda found: (found[1], len(found[0])))
    return set(seeds)
