"""What there is to choose from: sequences, presets, methods, tuners, rewards and models."""

from __future__ import annotations

from ril_bench import registry
from ril_bench.errors import UserError, nearest


def list(kind: str | None = None) -> dict[str, dict[str, str]]:
    """The names of every kind, or of one, each with one line on what it is: {kind: {name: line}}.

    Imports no torch and runs no code of a method, tuner or reward.

    Raises UserError for an unknown kind.
    """
    from ril_bench.reporting.listing import described

    return {each: dict(described(each)) for each in ([_kind(kind)] if kind else registry.KINDS)}


def _kind(word: str) -> str:
    """A kind, which may be written in the plural."""
    kind = word.removesuffix("s")
    if kind not in registry.KINDS:
        raise UserError(f"there is no kind {word!r}", hint=nearest(kind, registry.KINDS))
    return kind
