"""The checks of a method's revision as a whole: method.yaml, method.py, and every seed that method.yaml declares."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from itertools import chain
from pathlib import Path

from ril_bench.errors import UserError
from ril_bench.leaderboard import method_names
from ril_bench.leaderboard.checked import noted
from ril_bench.leaderboard.entry import Entry
from ril_bench.leaderboard.layout import OF_REVISION, SEED
from ril_bench.leaderboard.method_names import shipped_digest
from ril_bench.leaderboard.record import LEAST_SEEDS, MethodCard, read_card
from ril_bench.storage import names
from ril_bench.storage.digests import sha256_file


def card_faults(
    folder: Path, root: Path, valid: Collection[Entry]
) -> tuple[MethodCard | None, list[tuple[str, UserError]]]:
    """The card of a revision, None where it cannot be read, and (check, fault) of the revision's folder.

    Args:
        valid: its entries that have no fault of their own.
    """
    for name in OF_REVISION:
        if fault := _unreadable(folder / name):
            return None, [(name, fault)]
    try:
        card = read_card(folder / names.METHOD_CARD)
    except UserError as error:
        error.hint = error.hint or "ril-bench submit --template prints one with every key"
        return None, [(names.METHOD_CARD, error)]
    checks = {
        "names": _names(folder, valid, root),
        names.METHOD_FILE: _method_file(folder / names.METHOD_FILE, valid, root),
        "oracle": chain.from_iterable(_oracle(card, entry) for entry in valid),
    }
    return card, [(name, fault) for name, found in checks.items() for fault in found]


def _names(folder: Path, entries: Iterable[Entry], root: Path) -> Iterator[UserError]:
    """The method's name is its own. An entry that a maintainer accepted keeps it, whoever comes later."""
    if all(_accepted(entry, root) for entry in entries):
        return
    name = _without_label(folder.parent.name)
    others = {_without_label(other.name) for other in root.iterdir()}
    yield from method_names.faults(name, others, str(folder.parent))


def _without_label(folder: str) -> str:
    return folder.partition("@")[0]


def _accepted(entry: Entry, root: Path) -> bool:
    return noted(root.parent, str(entry), entry.folder) is not None


def _unreadable(path: Path) -> UserError | None:
    """Why a file beside the entries must not be opened, if it must not."""
    if path.is_symlink():
        return UserError("a symbolic link", where=str(path), hint="put the file itself in its place")
    most = OF_REVISION[path.name]
    if path.exists() and path.stat().st_size > most:
        return UserError(f"{path.name} is too large", where=str(path), hint=f"at most {most:,} bytes")
    return None


def _method_file(path: Path, entries: Iterable[Entry], root: Path) -> Iterator[UserError]:
    """method.py is the file of the runs; a name that ships belongs to the file that ships, and needs none.

    An entry that a maintainer recorded keeps its name when the file that ships changes later.
    """
    found = sha256_file(path) if path.is_file() else None
    for entry in entries:
        method = entry.run.method
        ships, where = shipped_digest(method.name), str(entry.file(names.RUN))
        if ships is not None:
            if method.file_sha256 != ships and not _accepted(entry, root):
                yield UserError(
                    f"{method.name} is a method that ships, and the run used another file",
                    where=where,
                    hint="run it again with the file that ships, or give your method a name of its own",
                )
        elif method.file_sha256 != found:
            known = "there is none" if found is None else "it is another file"
            yield UserError(
                f"{names.METHOD_FILE} is not the file of the run: {known}",
                where=str(path) if method.file_sha256 else where,
                hint="submit the file that the runs used: ril-bench submit RUN --method-file FILE",
            )


def seed_faults(folder: Path, valid: Collection[int], card: MethodCard) -> Iterator[UserError]:
    """A group has seeds 0 to n - 1, none left out and none chosen, for an n from LEAST_SEEDS to the card's.

    n is that of the valid entries: one that is refused has a fault of its own, and takes none of the others with it.

    Another order or sequence may have fewer than the card's. What is compared are the seeds that naive has there
    (`board.comparable`), so nobody gains by ending early.

    Args:
        folder: the group's.
        valid: the seeds whose entries have no fault of their own.
    """
    if not valid:
        return
    found = {int(match[1]) for item in folder.iterdir() if (match := SEED.fullmatch(item.name))}
    least = max([LEAST_SEEDS, *(seed + 1 for seed in valid)])
    if missing := sorted(set(range(least)) - found):
        yield UserError(
            f"seeds {missing} are missing of the first {least}",
            where=str(folder),
            hint="submit every seed from 0: a missing seed may be missing because of its result",
        )
    if more := sorted(seed for seed in valid if seed >= card.seeds):
        yield UserError(
            f"seeds {more} are not among the {card.seeds} that {names.METHOD_CARD} declares",
            where=str(folder),
            hint=f"write seeds: {max(valid) + 1}, and submit all of them",
        )


def _oracle(card: MethodCard, entry: Entry) -> Iterator[UserError]:
    """method.yaml and run.json agree on whether the method is an oracle."""
    if card.oracle != entry.run.method.oracle:
        yield UserError(
            f"{names.METHOD_CARD} states oracle: {str(card.oracle).lower()}; the run states the opposite",
            where=str(entry.file(names.RUN)),
            hint="set `oracle` of the method's class to what is true, then run and submit again",
        )
