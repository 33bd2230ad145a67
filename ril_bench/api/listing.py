"""The verb list: what there is to choose from."""

from __future__ import annotations

from typing import Any

from ril_bench import registry
from ril_bench.errors import UserError, nearest


def list(what: str | None = None) -> dict[str, dict[str, Any]]:
    """Sequences, presets, methods, tuners, rewards and models; or all that is known of one of them.

    Args:
        what: a kind, as "method" or "methods": the names of that kind, each with one line on what it is; or a name, as
            "rid": its description, facts and options. None gives the names of every kind.

    Returns {kind: {name: line}}, or {kind: {name: details}}. Everything is read off the sources: no torch, and no
    code of a method, tuner or reward is run.

    Raises UserError for what is neither a kind nor a name.
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
            f"there is no kind and no name {what!r}", hint=f"{nearest(kinds[0], words)}; ril-bench list"
        )
    from ril_bench.reporting.listing import details

    return {kind: {str(what): details(kind, str(what))} for kind in found}
