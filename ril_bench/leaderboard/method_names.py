"""Whose name a method has: a name that ships belongs to the file that ships."""

from __future__ import annotations

from functools import cache

from ril_bench import registry
from ril_bench.storage.digests import sha256_file


def shipped_digest(name: str) -> str | None:
    """The SHA-256 of the file of a method that ships; None for another name. Installed packages do not count."""
    return _digests().get(name)


@cache
def _digests() -> dict[str, str]:
    return {path.stem: sha256_file(path) for path in registry.shipped("baselines").glob("*.py")}
