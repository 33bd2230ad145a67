"""Whose name a method has: names that read alike are one name, and one that ships belongs to the file that ships."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache

from ril_bench import registry
from ril_bench.errors import UserError
from ril_bench.storage.digests import sha256_file

#: devices of Windows, which no file there may be called, whatever its suffix
RESERVED = {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(10))}
#: letters that a reader takes for one another, and marks that a reader overlooks
_ALIKE = str.maketrans({"0": "o", "1": "l", "i": "l", "5": "s", "8": "b", "2": "z"} | dict.fromkeys("._=,+-"))


def shipped_digest(name: str) -> str | None:
    """The SHA-256 of the file of a method that ships; None for another name. Installed packages do not count."""
    return _digests().get(name)


@cache
def _digests() -> dict[str, str]:
    return {path.stem: sha256_file(path) for path in registry.shipped("baselines").glob("*.py")}


def skeleton(name: str) -> str:
    """A name as a reader sees it: two names with one skeleton are taken for each other."""
    plain = name.casefold().translate(_ALIKE)
    return plain.replace("rn", "m").replace("vv", "w")


def faults(name: str, others: Iterable[str], where: str) -> Iterator[UserError]:
    """Faults of a method's name.

    Args:
        name: without its label.
        others: the names of the leaderboard's other methods.
    """
    if name.partition(".")[0].casefold() in RESERVED or name.endswith("."):
        yield UserError(
            f"{name!r} is no name of a file on every system", where=where, hint="give the method another name"
        )
    if name in _digests():
        return
    alike = sorted(other for other in {*_digests(), *others} - {name} if skeleton(other) == skeleton(name))
    if alike:
        yield UserError(
            f"{name!r} reads like {alike[0]!r}, which is another method",
            where=where,
            hint="give the method a name that nobody takes for another one",
        )
