"""Where the files of entries lie, and how large each may be.

entries/<method>[@label]/<revision>/method.yaml, and method.py unless the method ships
entries/<method>[@label]/<revision>/<sequence>/<order>/<tuner>/seed-<n>/run.json, scores.parquet, ...
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ril_bench.errors import UserError
from ril_bench.storage import names
from ril_bench.storage.digests import sha256_json

ENTRIES = "entries"
KB, MB = 1000, 1_000_000
REQUIRED = {  # bytes at most
    names.RUN: 500 * KB,
    names.SCORES: 8 * MB,
    names.MATRIX: 100 * KB,
    names.METRICS: 500 * KB,
    names.CONTACT_SHEET: 100 * KB,
    names.DIGESTS: 20 * KB,
}
OPTIONAL = {names.ANYTIME: 8 * MB}
OF_REVISION = {names.METHOD_CARD: 20 * KB, names.METHOD_FILE: 100 * KB}
ADAPTER_BYTES = 8 * MB
OTHER_BYTES = 300 * KB  # of all files of an entry but its adapters, on the largest sequence that ships
ADAPTER = re.compile(rf"{names.STEP_PREFIX}([1-9][0-9]{{0,2}})/{re.escape(names.ADAPTER)}")
# A name that is valid in the file systems of all platforms, in URLs and in HTML.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._=,+@-]{0,119}")
SEED = re.compile(r"seed-(0|[1-9][0-9]{0,5})")


@dataclass(frozen=True, order=True)
class Group:
    """The seeds of one method, in one revision, on one sequence, order and tuner."""

    method: str  # with its label, if its options are not the defaults
    revision: str
    sequence: str
    order: str
    tuner: str

    @property
    def path(self) -> Path:
        """Relative to entries/."""
        return Path(self.method, self.revision, self.sequence, self.order, self.tuner)


@dataclass(frozen=True, order=True)
class Address:
    """Where an entry is stored. The address is what the entry claims to be."""

    group: Group
    seed: int

    @property
    def path(self) -> Path:
        """Relative to entries/."""
        return self.group.path / f"seed-{self.seed}"

    @classmethod
    def of(cls, path: Path) -> Address | None:
        """The address of a folder, from its path relative to entries/; None where the path is not an entry's."""
        *parts, last = path.parts
        seed = SEED.fullmatch(last)
        if len(parts) != 5 or seed is None or not all(map(NAME.fullmatch, parts)):
            return None
        return cls(Group(*parts), int(seed[1]))


def address(run: Mapping[str, Any]) -> Address:
    """The address of a run's entry, from its run.json."""
    method = run["method"]
    name = method["name"] + (f"@{method['label']}" if method["label"] else "")
    group = Group(name, revision(method), run["sequence"]["name"], run["order"], run["tuner"]["name"])
    return Address(group, run["seed"])


def revision(method: Mapping[str, Any]) -> str:
    """A name for one state of a method: a digest of its file and of the values of its options."""
    return sha256_json([method["file_sha256"], method["resolved"]])[:12]


def limit(name: str) -> int | None:
    """The largest allowed size in bytes of a file, by its path in the entry's folder; None for an unknown file."""
    if ADAPTER.fullmatch(name):
        return ADAPTER_BYTES
    return (REQUIRED | OPTIONAL).get(name)


def entries_root(target: Path) -> Path:
    """The folder entries/ of a target that is this folder, holds it, or is inside it.

    Raises UserError where there is none.
    """
    target = target.absolute()
    if (target / ENTRIES).is_dir():
        return target / ENTRIES
    for folder in (target, *target.parents):
        if folder.name == ENTRIES and folder.is_dir():
            return folder
    raise UserError(
        "this is not a leaderboard, and not inside one",
        where=str(target),
        hint=f"name a folder that holds {ENTRIES}/, or one inside it",
    )
