"""Checks entries, their methods, and files that belong to neither; reports all faults of each at once."""

from __future__ import annotations

import secrets
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

from ril_bench.errors import UserError, failure_class, text_of
from ril_bench.leaderboard import safety
from ril_bench.leaderboard.cards import card_faults, seed_faults
from ril_bench.leaderboard.copies import Copies
from ril_bench.leaderboard.entry import Entry
from ril_bench.leaderboard.history import added_since
from ril_bench.leaderboard.layout import OF_REVISION, Address, Group, entries_root
from ril_bench.leaderboard.levels import Level, Resampled, Retrained, level
from ril_bench.leaderboard.rerun import SHIPPED, Retrainer
from ril_bench.leaderboard.resample import Resampler, drawn_seeds
from ril_bench.leaderboard.rules import as_fault, faults
from ril_bench.leaderboard.shipped import Shipped

DEPTH = 6  # folders from entries/ to an entry
ALL: Literal["all"] = "all"
Number = int | Literal["all"]
Computed = TypeVar("Computed", Resampled, Retrained)


@dataclass(frozen=True)
class EntryFault:
    """A fault, and the name of the check that found it.

    Attributes:
        of_machine: the checker's machine failed, so nothing is known of the entry.
    """

    check: str
    fault: UserError
    of_machine: bool = False

    def __str__(self) -> str:
        return f"{self.check}: {self.fault}"


@dataclass(frozen=True)
class Verdict:
    """The faults of one place below entries/: an entry, a group of seeds, a method's revision, or a stray file.

    Attributes:
        checker_seed: the seed that drew what was computed again.
        stands: of an entry: whether its revision and the seeds beside it have no fault either.
    """

    place: str
    faults: tuple[EntryFault, ...]
    entry: Entry | None = None
    resampled: Resampled | None = None
    retrained: Retrained | None = None
    checker_seed: int | None = None
    stands: bool = True

    @property
    def valid(self) -> bool:
        return not self.faults

    @property
    def level(self) -> Level:
        """What this check verified of a valid entry."""
        return level(self.resampled, self.retrained)

    def plain(self) -> dict[str, Any]:
        """The verdict as plain data, for scripts."""
        return {
            "place": self.place,
            "valid": self.valid,
            "level": self.level if self.entry and self.valid and self.stands else None,
            "faults": [
                {"check": one.check, "what": one.fault.what, "where": one.fault.where, "hint": one.fault.hint}
                for one in self.faults
            ],
            "resampled": self.resampled and asdict(self.resampled),
            "retrained": self.retrained and asdict(self.retrained),
            "checker_seed": self.checker_seed,
        }


@dataclass(frozen=True)
class Checker:
    """What a check computes again of the entries.

    Attributes:
        resample: how many images of each step; 0 for none.
        rerun: "shipped" to train methods that ship again, or the file of a method; None to train nothing.
        rerun_seeds: how many seeds of each group are trained again.
        steps: which steps are trained again; None for all.
        seed: draws the images and the seeds; None draws a new one, so that no entrant knows it.
    """

    resample: Number = 0
    rerun: str | Path | None = None
    rerun_seeds: Number = 1
    steps: Collection[int] | None = None
    seed: int | None = None


NOTHING_AGAIN = Checker()


def check(target: Path, *, since: str | None = None, checker: Checker = NOTHING_AGAIN) -> Iterator[Verdict]:
    """The verdict on each entry at or below a folder, on their methods, and on files that belong to neither.

    Args:
        target: a leaderboard's folder, its entries/, or any folder inside.
        since: a git revision; only files added after it are checked, and a changed or deleted file is a fault.
        checker: what is computed again.

    Raises UserError where there is no entry, or no method's file to train again.
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
    again, shipped = _Again(checker, addresses), Shipped()
    copies = Copies(root, shipped)
    by_revision: dict[Path, list[Entry]] = {one: [] for one in revisions if inside(one)}
    for address in addresses:
        folder = root / address.group.method / address.group.revision
        by_revision.setdefault(folder, []).append(Entry(root, address, shipped))
    for folder in sorted(by_revision):
        yield from _of_revision(folder, by_revision[folder], again, copies)
    again.refuse_unused()


def _of_revision(
    folder: Path, entries: Collection[Entry], again: _Again, copies: Copies
) -> Iterator[Verdict]:
    """The verdicts on a revision's entries, then on the revision, and on each group of its seeds that has a fault.

    What needs no computing comes first: so it is known of each entry, when it is computed again, whether it stands.
    """
    root = copies.root
    own = {entry: tuple(EntryFault(name, fault) for name, fault in faults(entry)) for entry in entries}
    valid = [entry for entry, found in own.items() if not found]
    revision, groups = _faults_beside(folder, [one.address.group for one in entries], valid, copies)
    for entry, found in own.items():
        stands = not revision and not groups.get(entry.address.group)
        yield replace(again.verdict(entry, found), stands=stands)
    yield Verdict(_place(root, folder), tuple(revision))
    for group, wrong in groups.items():
        if wrong:
            yield Verdict(group.path.as_posix(), tuple(wrong))


def _faults_beside(
    folder: Path, groups: Iterable[Group], valid: Collection[Entry], copies: Copies
) -> tuple[list[EntryFault], dict[Group, list[EntryFault]]]:
    """The faults of a revision as a whole, and those of each group of seeds."""
    try:
        card, found = card_faults(folder, copies.root, valid)
        revision = [EntryFault(name, fault) for name, fault in found]
        revision += [EntryFault("copies", fault) for fault in copies.faults(valid)]
        seeds: dict[Group, list[EntryFault]] = {}
        if card is None:
            return revision, seeds
        for group in sorted(set(groups)):
            own = {one.address.seed for one in valid if one.address.group == group}
            wrong = seed_faults(copies.root / group.path, own, card)
            seeds[group] = [EntryFault("seeds", fault) for fault in wrong]
    except Exception as error:  # one revision never stops the check of the others
        return [EntryFault("method", as_fault(error, folder))], {}
    return revision, seeds


class _Again:
    """The checks of entries, with what a checker computes again."""

    def __init__(self, checker: Checker, addresses: Collection[Address]):
        self.seed = secrets.randbelow(2**32) if checker.seed is None else checker.seed
        number = None if checker.resample == ALL else int(checker.resample)
        self.retrainer = _retrainer(checker)
        self.resampler = Resampler(number, self.seed) if number != 0 else None
        self.all_images = Resampler(None, self.seed) if self.retrainer else None
        self.drawn: set[Address] = set()
        self.retrained = 0  # entries
        if self.retrainer:
            groups: dict[Group, list[int]] = defaultdict(list)
            for one in addresses:
                groups[one.group].append(one.seed)
            for group, seeds in groups.items():
                count = len(seeds) if checker.rerun_seeds == ALL else int(checker.rerun_seeds)
                chosen = drawn_seeds(seeds, count, self.seed, group.path.as_posix())
                self.drawn |= {Address(group, seed) for seed in chosen}

    def refuse_unused(self) -> None:
        """Raises UserError where a file was named, and no valid entry was computed with it."""
        if self.retrainer and self.retrainer.method and not self.retrained:
            raise UserError(
                "no valid entry here was computed with this file",
                where=str(self.retrainer.method),
                hint="name the file of the runs: METHOD/REVISION/method.py of the entry",
            )

    def verdict(self, entry: Entry, found: tuple[EntryFault, ...]) -> Verdict:
        """The verdict on an entry whose files have these faults."""
        if found:  # nothing is computed from an invalid entry
            return Verdict(str(entry), found, entry)
        rerun = self.retrainer is not None and entry.address in self.drawn and self.retrainer.takes(entry)
        resampler = self.all_images if rerun else self.resampler
        resampled, wrong = _computed("resample", entry, resampler)
        retrained = None
        self.retrained += rerun
        if rerun and not wrong:
            retrained, wrong = _computed("rerun", entry, self.retrainer)
        seed = self.seed if resampled or retrained else None
        return Verdict(str(entry), tuple(wrong), entry, resampled, retrained, seed)


def _computed(
    name: str, entry: Entry, compute: Callable[[Entry], tuple[Computed, list[UserError]]] | None
) -> tuple[Computed | None, list[EntryFault]]:
    """What was computed again of an entry, and its faults; where the computation broke, that is a fault."""
    if compute is None:
        return None, []
    try:
        value, faults = compute(entry)
    except Exception as error:
        if failure_class(error) in ("infrastructure", "memory"):
            fault = UserError(
                f"this machine could not compute it: {text_of(error)}",
                where=str(entry.folder),
                hint="repair the machine, then check this entry again",
            )
            return None, [EntryFault(name, fault, of_machine=True)]
        return None, [EntryFault(name, as_fault(error, entry.folder))]
    return value, [EntryFault(name, fault) for fault in faults]


def _retrainer(checker: Checker) -> Retrainer | None:
    if checker.rerun is None:
        if checker.steps:
            raise UserError("no method is trained again", where="--steps", hint="add --rerun shipped")
        return None
    if str(checker.rerun) == SHIPPED:
        return Retrainer(None, checker.steps)
    if not Path(checker.rerun).is_file():
        raise UserError(
            f"there is no file {checker.rerun}",
            where="--rerun",
            hint="name the file of the entries' method, or shipped",
        )
    return Retrainer(Path(checker.rerun), checker.steps)


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
