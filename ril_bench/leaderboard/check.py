"""Checks entries, their methods, and files that belong to neither; reports all faults of each at once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ril_bench.errors import UserError
from ril_bench.leaderboard import safety
from ril_bench.leaderboard.cards import card_faults
from ril_bench.leaderboard.entry import Entry
from ril_bench.leaderboard.history import added_since
from ril_bench.leaderboard.layout import OF_REVISION, Address, entries_root
from ril_bench.leaderboard.resample import Resampled, Resampler
from ril_bench.leaderboard.rules import faults

DEPTH = 6  # folders from entries/ to an entry


@dataclass(frozen=True)
class EntryFault:
    """A fault, and the name of the check that found it."""

    check: str
    fault: UserError

    def __str__(self) -> str:
        return f"{self.check}: {self.fault}"


@dataclass(frozen=True)
class Verdict:
    """The faults of one place below entries/: an entry, a method's revision, or a stray file."""

    place: str
    faults: tuple[EntryFault, ...]
    resampled: Resampled | None = None
    entry: Entry | None = None

    @property
    def valid(self) -> bool:
        return not self.faults

    def plain(self) -> dict[str, Any]:
        """The verdict as plain data, for scripts."""
        return {
            "place": self.place,
            "valid": self.valid,
            "faults": [
                {"check": one.check, "what": one.fault.what, "where": one.fault.where, "hint": one.fault.hint}
                for one in self.faults
            ],
            "resampled": self.resampled and asdict(self.resampled),
        }


def check(target: Path, *, resample: int = 0, since: str | None = None) -> Iterator[Verdict]:
    """The verdict on each entry at or below a folder, on their methods, and on files that belong to neither.

    Args:
        target: a leaderboard's folder, its entries/, or any folder inside.
        resample: how many images of each entry to generate again; see `ril_bench.leaderboard.resample`.
        since: a git revision; only files added after it are checked, and a changed or deleted file is a fault.

    Raises UserError where there is no entry.
    """
    root = entries_root(target)
    scope = _scope(root, target.absolute())
    inside: Callable[[Path], bool] = lambda path: True  # noqa: E731
    if since is not None:
        history = added_since(since, root, scope)
        yield from (
            Verdict(_place(root, Path(f.where or "")), (EntryFault("history", f),)) for f in history.faults
        )
        inside = history.touches
    addresses, revisions, stray = _survey(root, scope)
    for fault in stray:
        yield Verdict("entries", (EntryFault("files", fault),))
    addresses = [one for one in addresses if inside(root / one.path)]
    if not addresses and since is None and not stray:
        raise UserError(
            "there is no entry here",
            where=str(scope),
            hint="write one: ril-bench submit RUN --method-yaml FILE",
        )
    resampler = Resampler(resample) if resample else None
    checked: dict[Path, list[Verdict]] = defaultdict(list)  # by the revision
    for address in addresses:
        verdict = _checked(Entry(root, address), resampler)
        checked[root / address.group.method / address.group.revision].append(verdict)
        yield verdict
    for folder in sorted({*checked, *(one for one in revisions if inside(one))}):
        groups = {one.entry.address.group for one in checked[folder] if one.entry}
        valid = [one.entry for one in checked[folder] if one.entry and one.valid]
        found = [EntryFault(name, fault) for name, fault in card_faults(folder, groups, root, valid)]
        yield Verdict(folder.relative_to(root).as_posix(), tuple(found))


def _checked(entry: Entry, resampler: Resampler | None) -> Verdict:
    found = [EntryFault(name, fault) for name, fault in faults(entry)]
    resampled = None
    if resampler and not found:  # images of an invalid entry are not generated
        try:
            resampled, wrong = resampler(entry)
        except UserError as error:
            wrong = [error]
        found = [EntryFault("resample", fault) for fault in wrong]
    return Verdict(str(entry), tuple(found), resampled, entry)


def _scope(root: Path, target: Path) -> Path:
    """The folder to search: the target, the entry that contains it, or entries/ where the target holds that."""
    if not target.is_relative_to(root):
        return root
    return root.joinpath(*target.relative_to(root).parts[:DEPTH])


def _survey(root: Path, scope: Path) -> tuple[list[Address], set[Path], list[UserError]]:
    """The entries below a folder, the revisions that have files of their own, and a fault for each other file."""
    addresses: dict[Address, None] = {}
    revisions: set[Path] = set()
    stray: list[UserError] = []
    for path, _, fault in safety.walk(scope):
        parts = path.relative_to(root).parts
        address = Address.of(Path(*parts[:DEPTH])) if len(parts) > DEPTH else None
        if address is not None:
            addresses[address] = None  # the checks of the entry cover what is inside
        elif fault:
            stray.append(fault)
        elif len(parts) == 3 and parts[2] in OF_REVISION:
            revisions.add(path.parent)
        else:
            stray.append(
                UserError(
                    f"not a file of an entry: {path.name}",
                    where=str(path),
                    hint="METHOD/REVISION/SEQUENCE/ORDER/TUNER/seed-N/, as `ril-bench submit` writes it",
                )
            )
    return sorted(addresses), revisions, stray


def _place(root: Path, path: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)
