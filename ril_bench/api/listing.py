"""The verb list: all names, or the options of one of them."""

from __future__ import annotations

from typing import Any

from ril_bench import registry
from ril_bench.errors import UserError, nearest


def list(what: str | None = None) -> dict[str, dict[str, Any]]:
    """Lists sequences, presets, methods, tuners, rewards, models and claims, or describes one of them.

    Args:
        what: a kind, such as "method" or "methods", for the names of that kind with one line on each; a name, such as
            "rid", for its description, facts and options; None for the names of every kind.

    Returns {kind: {name: line}}, or {kind: {name: details}}. Everything is read from the source files: torch is not
    imported, and no code of a method, tuner or reward runs. Only the details of a claim plan its runs.

    Raises UserError if `what` is neither a kind nor a name.
    """
    kinds = [what.removesuffix("s")] if what else [*registry.KINDS]
    if kinds[0] in registry.KINDS:
        from ril_bench.reporting.listing import described

        return {kind: dict(described(kind)) for kind in kinds}
    known = {kind: registry.names(kind) for kind in registry.KINDS}
    found = [kind for kind in known if what in known[kind]]
    if not found:
        words = [*registry.KINDS, *(name for names in known.values() for name in names)]
        raise UserError(
            f"{what!r} is neither a kind nor a name", hint=f"{nearest(kinds[0], words)}; ril-bench list"
        )
    return {kind: {str(what): _details(kind, str(what))} for kind in found}


def _details(kind: str, name: str) -> dict[str, Any]:
    if kind == "claim":
        from ril_bench.studies.claims.describe import described_claim

        return described_claim(name)
    from ril_bench.reporting.listing import details

    return details(kind, name)
