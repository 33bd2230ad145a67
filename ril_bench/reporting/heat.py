"""A matrix of signed values as an HTML table with shaded cells. The number comes first, the colour second."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ril_bench.reporting.text import fixed

Values = list[list[float | None]]


@dataclass(frozen=True)
class Shade:
    """A cell: its number, its hue ("up", "down", or "none" where it is missing) and its strength in [0, 1]."""

    value: str
    hue: str
    strength: str
    trained: bool


@dataclass(frozen=True)
class Heatmap:
    """What the template's `heat` draws; `low` and `high` name the ends of the colour scale."""

    caption: str
    columns: Sequence[str]
    rows: list[tuple[int, str, list[Shade]]]
    low: str
    high: str


def heatmap(
    caption: str,
    values: Values,
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    limit: float,
    first_step: int,
    ends: tuple[str, str],
) -> Heatmap:
    """A heat table of values (rows, columns); the strongest shade stands for ±limit.

    Row i is step first_step + i. The cell of the reward that the step trained is framed.
    """
    shaded = [
        (step, name, [_shade(value, limit, step == j + 1) for j, value in enumerate(row)])
        for step, (name, row) in enumerate(zip(rows, values, strict=True), first_step)
    ]
    beyond = any(value is not None and abs(value) > limit for row in values for value in row)
    low, high = ("≤ ", "≥ ") if beyond else ("", "")
    return Heatmap(
        caption, columns, shaded, f"{low}{fixed(-limit, 1)} {ends[0]}", f"{high}{fixed(limit, 1)} {ends[1]}"
    )


def _shade(value: float | None, limit: float, trained: bool) -> Shade:
    if value is None:
        return Shade(fixed(None), "none", "0", trained)
    return Shade(fixed(value), "up" if value > 0 else "down", f"{min(abs(value) / limit, 1):.2f}", trained)
