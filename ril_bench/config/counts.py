"""Whole numbers that a caller gives: seeds, threads, runs at a time."""

from __future__ import annotations

import operator

from ril_bench.errors import UserError

THREADS = 1024  # more of them only cost memory, until there is none


def count(value: object, name: str, *, least: int, most: int | None = None) -> int:
    """`value` as an int; an integer of numpy is one, a truth value is none. Raises UserError for anything else."""
    try:
        number = None if isinstance(value, bool) else operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        number = None
    if number is None or number < least or (most is not None and number > most):
        bounds = f"at least {least}" if most is None else f"from {least} to {most}"
        raise UserError(f"{value!r:.100} is no whole number {bounds}", where=name, hint="as in 0, 1, 2")
    return number
