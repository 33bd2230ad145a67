"""The checks of a method's revision as a whole: method.yaml, method.py, and every seed that method.yaml declares."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from ril_bench.errors import UserError
from ril_bench.leaderboard import method_names
from ril_bench.leaderboard.checked import noted
from ril_bench.leaderboard.entry import Entry
from ril_bench.leaderboard.layout import OF_REVISION, SEED, Group
from ril_bench.leaderboard.method_names import shipped_digest
from ril_bench.leaderboard.record import LEAST_SEEDS, MethodCard, read_card
from ril_bench.storage import names
from ril_bench.storage.digests import sha256_file


def card_faults(
    folder: Path, groups: Iterable[Group], root: Path, valid: Iterable[Entry]
) -> Iterator[tuple[str, UserError]]:
    """(check, fault) of a revision's folder, and of the groups of seeds below it.

    Args:
        valid: its entries that have no fault of their own.
    """
    valid = list(valid)
    for name in OF_REVISION:
        if fault := _unreadable(folder / name):
            yield name, fault
            return
    try:
        card = read_card(folder / names.METHOD_CARD)
    except UserError as error:
        error.hint = error.hint or "ril-bench submit --template prints one with every key"
        yield names.METHOD_CARD, error
        return
    yield from (("names", fault) for fault in _names(folder, valid, root))
    yield from ((names.METHOD_FILE, fault) for fault in _method_file(folder / names.METHOD_FILE, valid, root))
    for group in sorted(groups):
        yield from (("seeds", fault) for fault in _seeds(root / group.path, card))
    for entry in valid:
        yield from (("oracle", fault) for fault in _oracle(card, entry))


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


def _seeds(folder: Path, card: MethodCard) -> Iterator[UserError]:
    """Seeds 0 to n - 1, none left out and none chosen, for an n from LEAST_SEEDS to the card's.

    Another order or sequence may have fewer than the card's. What is compared are the seeds that naive has there
    (`board.comparable`), so nobody gains by ending early.
    """
    found = {int(match[1]) for item in folder.iterdir() if (match := SEED.fullmatch(item.name))}
    least = max([LEAST_SEEDS, *(seed + 1 for seed in found)])
    if missing := sorted(set(range(least)) - found):
        yield UserError(
            f"seeds {missing} are missing of the first {least}",
            where=str(folder),
            hint="submit every seed from 0: a missing seed may be missing because of its result",
        )
    if more := sorted(seed for seed in found if seed >= card.seeds):
        yield UserError(
            f"seeds {more} are not among the {card.seeds} that {names.METHOD_CARD} declares",
            where=str(folder),
            hint=f"write seeds: {max(found) + 1}, and submit all of them",
        )


def _oracle(card: MethodCard, entry: Entry) -> Iterator[UserError]:
    """method.yaml and run.json agree on whether the method is an oracle."""
    if card.oracle != entry.run.method.oracle:
        yield UserError(
            f"{names.METHOD_CARD} states oracle: {str(card.oracle).lower()}; the run states the opposite",
            where=str(entry.file(names.RUN)),
            hint="set `oracle` of the method's class to what is true, then run and submit again",
        )
