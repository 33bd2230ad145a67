"""Cells and rows of the site's tables: numbers as text, the value that sorts them, and their notes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import pandas as pd
from markupsafe import Markup

from ril_bench.reporting import plots, text


@dataclass(frozen=True)
class MetricCell:
    """A metric in a row: `value` sorts, `big` is shown, with its interval and notes beneath."""

    value: str
    big: str
    small: str = ""
    notes: str = ""
    glyph: Markup = field(default_factory=Markup)


EMPTY = MetricCell("", text.MISSING)


@dataclass(frozen=True)
class TableRow:
    """The row of a method or of a run.

    filters: what the filters of the page read; places: the cells before the metrics (sequence, tuner, ...); collapsed:
    which steps, or how many runs, are, in words; known: false for entries that only state their scores.
    """

    name: str
    series: int
    oracle: bool
    filters: dict[str, str]
    places: dict[str, str]
    cells: Sequence[MetricCell]
    link: str | None = None
    official: bool = True
    collapsed: str = ""
    known: bool = True

    @property
    def mark(self) -> Markup:
        """The method's marker, the same in every plot."""
        return plots.key(self.series, self.oracle)


def row_of(members: pd.DataFrame, metric: str) -> pd.Series:
    """The row of one metric, of rows indexed by metric."""
    return pd.Series(members.loc[metric])


def value_at(members: pd.DataFrame, metric: str, column: str) -> float:
    """One number, of rows indexed by metric; NaN where the metric is missing."""
    return float(members[column][metric]) if metric in members.index else math.nan


def precision(table: pd.DataFrame, metric: str) -> int:
    """The decimal places that all cells of a metric share."""
    rows = table[table["figure"] == metric]
    means = (float(value) for value in rows["mean"])
    return text.decimals([*means, *(value for points in rows["points"] for value in points)])


def metric_cell(row: pd.Series, places: int, ends: tuple[float, float] | None, series: int) -> MetricCell:
    """A mean with its interval and floor; every point where there is no interval. `ends`: draws it on that axis."""
    glyph = Markup()
    if ends is not None:
        glyph = plots.forest(row["mean"], row["low"], row["high"], row["points"], row["floor"], ends, series)
    floor = text.fixed(row["floor"], text.decimals([row["floor"]], 2))
    notes = [f"floor {floor}"] if math.isfinite(row["floor"]) else []
    notes += ["biased"] if row["biased"] else []
    value = sortable(row["mean"])
    if len(set(row["points"])) > 1:
        points = " ".join(shown(point, places) for point in row["points"])
        return MetricCell(value, "", points, ", ".join(notes), glyph)
    bounds = f"[{shown(row['low'], places)}, {shown(row['high'], places)}]"
    constant = not math.isfinite(row["low"]) or row["high"] - row["low"] < 1e-9 * abs(row["mean"])
    return MetricCell(value, shown(row["mean"], places), "" if constant else bounds, ", ".join(notes), glyph)


def rank_cell(row: pd.Series) -> MetricCell:
    """A rank with the ranks that the seeds do not rule out."""
    if math.isnan(row["rank"]):
        return EMPTY
    low, high = (str(int(row[key])) for key in ("rank_low", "rank_high"))
    bounds = "" if low == high else f"[{low}, {high}]"
    return MetricCell(sortable(row["rank"]), str(int(row["rank"])), bounds)


def difference_cell(row: pd.Series, places: int) -> MetricCell:
    """A paired difference to naive with its interval and, where methods are tested, its adjusted p value."""
    if math.isnan(row["difference_low"]):
        return EMPTY
    low, high = (text.fixed(row[f"difference_{end}"], places) for end in ("low", "high"))
    notes = [f"better in {text.fixed(row['improvement'])} of seeds"]
    if math.isfinite(row["p_holm"]):
        notes.append(f"p {text.p_value(row['p_holm'])}")
    difference = text.signed(row["difference"], places)
    return MetricCell(sortable(row["difference"]), difference, f"[{low}, {high}]", ", ".join(notes))


def with_interval(row: pd.Series, kind: str = "mean") -> str:
    """ "0.20 [0.10, 0.30]" of the mean, or "-0.30 [-0.40, -0.20]" of the difference."""
    low, high = (row["low"], row["high"]) if kind == "mean" else (row[f"{kind}_low"], row[f"{kind}_high"])
    places = text.decimals([row[kind], low, high])
    value = text.fixed(row[kind], places) if kind == "mean" else text.signed(row[kind], places)
    return f"{value} [{text.fixed(low, places)}, {text.fixed(high, places)}]"


def shown(value: float, places: int) -> str:
    """A number as a cell shows it; large whole numbers are grouped."""
    return text.count(value) if places == 0 and abs(value) >= 10_000 else text.fixed(value, places)


def sortable(value: float) -> str:
    """A number as the page's script sorts it; empty where it is missing."""
    return repr(float(value)) if math.isfinite(value) else ""
