"""Compares the metrics that an entry claims with the same metrics computed again."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

RELATIVE, ABSOLUTE = 1e-6, 1e-9  # sums differ in their last bits between versions of numpy
SHOWN = 5  # of many differences of one kind


def differences(
    claimed: Any, found: Any, key: str = "", relative: float = RELATIVE, absolute: float = ABSOLUTE
) -> Iterator[str]:
    """Each place where a tree of plain values differs from the one found: "continual.z.FORGET is 1, not 2".

    Numbers may differ by `relative` of the found one or `absolute`; NaN stands for null, as in JSON.
    """
    if isinstance(found, Mapping) and isinstance(claimed, Mapping):
        for name in dict.fromkeys([*found, *claimed]):
            inner = f"{key}.{name}" if key else str(name)
            yield from differences(claimed.get(name), found.get(name), inner, relative, absolute)
    elif _is_list(found) and _is_list(claimed) and len(found) == len(claimed):
        for i, (a, b) in enumerate(zip(claimed, found, strict=True)):
            yield from differences(a, b, f"{key}[{i}]", relative, absolute)
    elif not _same(claimed, found, relative, absolute):
        yield f"{key} is {_short(claimed)}, not {_short(found)}"


def listed(found: Sequence[str]) -> str:
    """The first differences in one line, and the number of the others."""
    more = f"; and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return "; ".join(found[:SHOWN]) + more


def _same(a: Any, b: Any, relative: float, absolute: float) -> bool:
    a, b = _null(a), _null(b)
    if _is_number(a) and _is_number(b):
        return math.isclose(a, b, rel_tol=relative, abs_tol=absolute)
    return type(a) is type(b) and bool(a == b)


def _null(value: Any) -> Any:
    value = value.item() if hasattr(value, "item") else value  # numpy
    return None if isinstance(value, float) and math.isnan(value) else value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple)


def _short(value: Any) -> str:
    value = _null(value)
    if value is None:
        return "null"
    return f"{value:.6g}" if isinstance(value, float) else repr(value)[:60]
