"""Adapters that occur twice: one seed handed in as several, or one method under two names."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError

from ril_bench.draws import generator
from ril_bench.errors import UserError
from ril_bench.leaderboard.adapter_files import factors, opening
from ril_bench.leaderboard.checked import noted
from ril_bench.leaderboard.entry import Entry
from ril_bench.leaderboard.layout import ADAPTER_BYTES, Address, Group
from ril_bench.leaderboard.method_names import shipped_digest
from ril_bench.leaderboard.rules import faults
from ril_bench.leaderboard.shipped import Shipped
from ril_bench.reporting.summary import BASELINE
from ril_bench.sequences.sequence_file import load_sequence
from ril_bench.storage import names

#: of the norm: two seeds have other initial weights, so their adapters differ by about all of it
NEAR_SEED = 0.1
#: of the norm: a weak strength may leave a method near another one, so only an equal adapter is a copy
NEAR_METHOD = 1e-3
RECORDED = 3  # the standing of an entry that a maintainer accepted
COLUMNS = 4  # of the projection by which adapters are compared


@dataclass(frozen=True, eq=False)
class Sketch:
    """A projection of an adapter's change of the weights."""

    values: NDArray[np.float64]
    norm: float

    def is_near(self, other: Sketch, share: float) -> bool:
        """Whether the two differ by at most a share of the larger norm."""
        most = share * max(self.norm, other.norm)
        if self.values.shape != other.values.shape or abs(self.norm - other.norm) > most:
            return False  # norms alone tell most pairs apart, and a board has many
        return bool(np.linalg.norm(self.values - other.values) <= most)


class Copies:
    """The last adapters of a leaderboard's entries, read when they are compared.

    Args:
        root: the folder entries/.
        shipped: shared with the checks of the entries.
    """

    def __init__(self, root: Path, shipped: Shipped):
        self.root, self.shipped = root, shipped
        self._sketch = cache(self._read)
        self._places = cache(self._read_places)

    def faults(self, entries: Collection[Entry]) -> Iterator[UserError]:
        """Faults of the valid entries of one method's revision."""
        groups: dict[Group, list[Entry]] = defaultdict(list)
        for entry in entries:
            groups[entry.address.group].append(entry)
        for group, members in sorted(groups.items()):
            yield from self._equal_seeds(members)
            yield from self._equal_methods(group, members)

    def _equal_seeds(self, entries: Collection[Entry]) -> Iterator[UserError]:
        seen: list[tuple[Entry, Sketch]] = []
        for entry in entries:
            sketch = self._sketch(entry.address)
            if sketch is None:
                continue
            for other, known in seen:
                if sketch.is_near(known, NEAR_SEED):
                    yield UserError(
                        f"seeds {other.address.seed} and {entry.address.seed} have the same last adapter",
                        where=str(entry.folder),
                        hint="submit runs of different seeds; a method that trains nothing is no entry",
                    )
                    break
            seen.append((entry, sketch))

    def _equal_methods(self, group: Group, entries: Collection[Entry]) -> Iterator[UserError]:
        """Another group of the same sequence and order whose adapters are these, and whose name counts as much.

        An entry that its own checks refuse counts for nothing.
        """
        for other in self._places(group.sequence, group.order):
            if (other.group.method, other.group.tuner) == (group.method, group.tuner):
                continue
            # A seed is a number that anybody may write: a copy need not have the original's.
            mine = next((entry for entry in entries if self._equal(entry.address, other)), None)
            if mine is None:
                continue
            its_entry = Entry(self.root, other, self.shipped)
            own, its = self._standing(mine), self._standing(its_entry)
            if own < RECORDED and own <= its and (its == RECORDED or not any(faults(its_entry))):
                yield UserError(
                    f"the last adapter is that of {other.group.method} with {other.group.tuner}, seed {other.seed}",
                    where=str(mine.folder),
                    hint="submit a method's own runs, under the name that they have",
                )
                return

    def _equal(self, one: Address, other: Address) -> bool:
        a, b = self._sketch(one), self._sketch(other)
        return a is not None and b is not None and a.is_near(b, NEAR_METHOD)

    def _standing(self, entry: Entry) -> int:
        """Whose name counts where two entries have one adapter: an accepted entry, then naive, then what ships.

        -1 for an entry that cannot be read.
        """
        if noted(self.root.parent, str(entry), entry.folder) is not None:
            return RECORDED
        try:
            method = entry.run.method
            own_tuner = load_sequence(entry.address.group.sequence).tuner.name == entry.address.group.tuner
        except (OSError, UserError):
            return -1
        ships = method.file_sha256 is not None and method.file_sha256 == shipped_digest(method.name)
        if not (ships and own_tuner and method.label is None):
            return 0
        return 2 if method.name == BASELINE else 1

    def _read_places(self, sequence: str, order: str) -> list[Address]:
        """The entries of a sequence and order, with any method and tuner."""
        found = sorted(self.root.glob(f"*/*/{sequence}/{order}/*/seed-*"))
        addresses = (Address.of(path.relative_to(self.root)) for path in found if path.is_dir())
        return [one for one in addresses if one is not None]

    def _read(self, address: Address) -> Sketch | None:
        """The sketch of the last adapter; None where there is none that is safe to open."""
        entry = Entry(self.root, address, self.shipped)
        path = entry.folder / names.adapter(len(entry.sequence.order))
        try:
            if path.is_symlink() or not path.is_file() or path.stat().st_size > ADAPTER_BYTES:
                return None
            return None if any(True for _ in opening(entry)) else _sketched(path)
        except (OSError, SafetensorError, ValueError, KeyError, UserError):
            return None  # the checks of that entry report it


def _sketched(path: Path) -> Sketch:
    """The change of each layer times a few fixed random columns: equal changes have equal sketches."""
    parts = []
    for layer, (down, up) in sorted(factors(path).items()):
        columns = generator("copies", layer).standard_normal((down.shape[1], COLUMNS))
        parts.append((up @ (down @ columns)).ravel())
    values = np.concatenate(parts) if parts else np.zeros(1)
    return Sketch(values, float(np.linalg.norm(values)))
