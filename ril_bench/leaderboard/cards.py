"""The checks of a method's revision as a whole: its method.yaml, and every seed that method.yaml declares."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from ril_bench.errors import UserError
from ril_bench.leaderboard.entry import Entry
from ril_bench.leaderboard.layout import METHOD_BYTES, SEED, Group
from ril_bench.leaderboard.record import MethodCard, read_card
from ril_bench.storage import names


def card_faults(
    folder: Path, groups: Iterable[Group], root: Path, valid: Iterable[Entry]
) -> Iterator[tuple[str, UserError]]:
    """(check, fault) of a revision's folder, and of the groups of seeds below it.

    Args:
        valid: its entries that have no fault of their own.
    """
    path = folder / names.METHOD_CARD
    try:
        if path.is_symlink():
            raise UserError("a symbolic link", where=str(path), hint="put the file itself in its place")
        if path.exists() and path.stat().st_size > METHOD_BYTES:
            raise UserError(
                f"{names.METHOD_CARD} is too large", where=str(path), hint=f"at most {METHOD_BYTES:,} bytes"
            )
        card = read_card(path)
    except UserError as error:
        error.hint = error.hint or "ril-bench submit --template prints one with every key"
        yield names.METHOD_CARD, error
        return
    for group in sorted(groups):
        yield from (("seeds", fault) for fault in _seeds(root / group.path, card))
    for entry in valid:
        yield from (("oracle", fault) for fault in _oracle(card, entry))


def _seeds(folder: Path, card: MethodCard) -> Iterator[UserError]:
    """Seeds 0 to n - 1, none left out and none chosen."""
    found = {int(match[1]) for item in folder.iterdir() if (match := SEED.fullmatch(item.name))}
    wanted = set(range(card.seeds))
    if missing := sorted(wanted - found):
        yield UserError(
            f"seeds {missing} are missing of the {card.seeds} that {names.METHOD_CARD} declares",
            where=str(folder),
            hint="submit every seed from 0: a missing seed may be missing because of its result",
        )
    if more := sorted(found - wanted):
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
