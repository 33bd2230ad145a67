"""The tables and plots of a site's first page, made from the one table of `summary`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pandas as pd
from markupsafe import Markup

from ril_bench.reporting import plots, text
from ril_bench.reporting.cells import (
    EMPTY,
    MetricCell,
    TableRow,
    difference_cell,
    metric_cell,
    precision,
    rank_cell,
    row_of,
    shown,
    sortable,
    value_at,
)
from ril_bench.reporting.glossary import better
from ril_bench.reporting.pareto import planes
from ril_bench.reporting.place import Place, by_place
from ril_bench.reporting.strengths import AtEqualLearning, Strengths
from ril_bench.reporting.summary import BASELINE
from ril_bench.reporting.svg import spread
from ril_bench.storage.entry_note import LEVELS

# What a reader asks, and the metrics that answer: the head over the columns of the table of methods.
Questions = Sequence[tuple[str, Sequence[str]]]
QUESTIONS: Questions = (
    ("What was forgotten", ("FORGET", "BWT")),
    ("What was learned", ("LEARN", "FINAL", "WORST")),
    ("What it cost", ("updates spent", "carried MB", "denoiser evaluations", "seconds")),
    ("What became of the images", ("drift", "SSIM to step 0", "KID", "FID", "Vendi")),
)
#: on a leaderboard, first what cannot be won by learning nothing
QUESTIONS_OF_A_BOARD = (
    ("What is left of all rewards", ("FINAL", "WORST")),
    ("What was learned", ("LEARN",)),
    *((title, names) for title, names in QUESTIONS if "LEARN" not in names),
)
RANKED = ("FINAL", "LEARN", "FORGET", "BWT", "WORST", "SSIM to step 0", "KID", "FID")
COMPARED = ("FORGET", "LEARN", "FINAL", "SSIM to step 0", "KID", "FID")
LISTED = ("FORGET", "BWT", "LEARN", "FINAL", "SSIM to step 0", "FID", "seconds")


@dataclass(frozen=True)
class PlanePlot:
    """A plot of one metric against another, for one place."""

    place: Place
    title: str
    plot: Markup


def baseline_first(method: str) -> tuple[bool, str]:
    """A key that sorts methods by name, naive first."""
    return method != BASELINE, method


def series_of(table: pd.DataFrame) -> dict[str, int]:
    """The number of each method's colour and marker, the same in every plot: naive first, then by name."""
    names = sorted(set(table["method"]), key=baseline_first)
    return {name: k for k, name in enumerate(names)}


def columns(table: pd.DataFrame, known: Sequence[str]) -> list[str]:
    """The metrics of `known` that the table has; KID only where FID is biased."""
    found = set(table["figure"])
    if "FID" in found and not table["biased"].any():
        found.discard("KID")
    return [name for name in known if name in found]


def places(runs: pd.DataFrame) -> dict[str, list[str]]:
    """The columns that say where a row belongs: only those whose value differs between rows."""
    several = {key for key in Place._fields if runs[key].nunique() > 1}
    kinds = {
        "methods": (*Place._fields, "seeds"),
        "against": Place._fields,
        "runs": (*Place._fields, "seed"),
    }
    always = {"seeds", "seed"}
    found = {name: [key for key in keys if key in several | always] for name, keys in kinds.items()}
    if runs["level"].ne("").any():  # entries of a leaderboard
        for name in ("methods", "runs"):
            found[name].append("level")
    return found


def head(names: Sequence[str], questions: Questions = QUESTIONS) -> list[tuple[str, int]]:
    """(question, number of columns) over the columns."""
    counts = ((title, sum(name in metrics for name in names)) for title, metrics in questions)
    return [(title, n) for title, n in counts if n]


def method_rows(
    table: pd.DataFrame, runs: pd.DataFrame, names: Sequence[str], best_first: str = "FORGET"
) -> list[TableRow]:
    """A row for each place and method, the best value of a metric first."""
    series = series_of(table)
    decimals = {name: precision(table, name) for name in names}
    rows = []
    for place, members in by_place(table):
        by_method = {
            str(name): own.set_index("figure") for name, own in members.groupby("method", sort=False)
        }
        ends = _forget_ends(members)
        for method in sorted(by_method, key=lambda name: _best_first(by_method[name], best_first)):
            metrics = by_method[method]
            own = place.within(runs[runs["method"] == method])
            cells = [
                metric_cell(
                    row_of(metrics, name), decimals[name], ends if name == "FORGET" else None, series[method]
                )
                if name in metrics.index
                else EMPTY
                for name in names
            ]
            oracle, filters = bool(metrics["oracle"].iloc[0]), place.filters(method)
            seeds, level = str(metrics["seeds"].iloc[0]), text.levels(own["level"])
            where = place._asdict() | {"seeds": seeds, "level": level}
            official = bool(own["official"].all())
            fallen = int((own["collapsed"] != "").sum())
            words = f"collapsed in {fallen} of {len(own)}" if fallen else ""
            known = not own["level"].eq(LEVELS[0]).any()
            rows.append(
                TableRow(method, series[method], oracle, filters, where, cells, None, official, words, known)
            )
    return rows


def against_rows(table: pd.DataFrame, names: Sequence[str]) -> list[TableRow]:
    """A row for each method that has a paired difference to naive with an interval."""
    series = series_of(table)
    places = {name: text.decimals(table.loc[table["figure"] == name, "difference"]) for name in names}
    rows = []
    for place, method, members in _methods(table):
        if members["p_holm"].isna().all():
            continue  # naive itself, too few seeds, or entries that only state their scores
        metrics = members.set_index("figure")
        cells = [
            difference_cell(row_of(metrics, name), places[name]) if name in metrics.index else EMPTY
            for name in names
        ]
        filters, oracle = place.filters(method), bool(members["oracle"].iloc[0])
        rows.append(TableRow(method, series[method], oracle, filters, place._asdict(), cells))
    return rows


def run_rows(
    runs: pd.DataFrame, table: pd.DataFrame, links: Sequence[str], names: Sequence[str]
) -> list[TableRow]:
    """A row for each run, with the link to its page."""
    series = series_of(table)
    places = {name: text.decimals(runs[name]) for name in names}
    rows = []
    for run, link in zip(runs.to_dict("records"), links, strict=True):
        cells = [MetricCell(sortable(run[name]), shown(run[name], places[name])) for name in names]
        place = Place(run["sequence"], run["order"], run["tuner"])
        filters = place.filters(run["method"])
        where = place._asdict() | {key: str(run[key]) for key in ("seed", "level")}
        name, official, words = run["method"], run["official"], run["collapsed"]
        rows.append(TableRow(name, series[name], run["oracle"], filters, where, cells, link, official, words))
    return rows


def rank_rows(table: pd.DataFrame, names: Sequence[str]) -> list[TableRow]:
    """A row for each method that has a rank: its rank in each metric, 1 the best, with its interval."""
    series = series_of(table)
    rows = []
    for place, method, members in _methods(table):
        metrics = members.set_index("figure")
        cells = [rank_cell(row_of(metrics, name)) if name in metrics.index else EMPTY for name in names]
        if any(cell.value for cell in cells):
            rows.append(
                TableRow(method, series[method], False, place.filters(method), place._asdict(), cells)
            )
    return rows


EQUAL_LEARNING = ("FINAL, tuned", "FORGET at naive's LEARN", "Difference to naive")


def equal_learning_rows(table: pd.DataFrame, found: Sequence[AtEqualLearning]) -> list[tuple[TableRow, str]]:
    """A row for each curve, with the columns EQUAL_LEARNING, and its values or why it has no FORGET, in words."""
    series = series_of(table)
    rows = []
    for one in found:
        curve = one.strengths
        members = curve.place.within(table)
        final = members[(members["method"] == one.final) & (members["figure"] == "FINAL")]
        cells = [metric_cell(final.iloc[0], precision(table, "FINAL"), None, 0) if len(final) else EMPTY]
        if one.forget is None:
            cells += [EMPTY, EMPTY]
        else:
            row = pd.Series({"floor": math.nan, "biased": False, "p_holm": math.nan, **one.forget})
            decimals = precision(table, "FORGET")
            cells += [metric_cell(row, decimals, None, 0), difference_cell(row, decimals)]
        values = ", ".join(f"{value:g}" for value in curve.members.values())
        words = f"{curve.option} {values}" + (f"; {one.reason}" if one.reason else "")
        name = one.final or f"{curve.method} ({curve.option})"
        filters, where = curve.place.filters(name), curve.place._asdict()
        number = series[one.final or next(iter(curve.members))]
        rows.append((TableRow(name, number, False, filters, where, cells), words))
    return rows


def plane_plots(table: pd.DataFrame, curves: Sequence[Strengths]) -> Iterator[PlanePlot]:
    """The plots of one metric against another for every place."""
    for plane in planes(table, series_of(table), curves):
        plot = plots.plane_plot(plane, f"{plane.place.title}: {plane.in_words()}")
        yield PlanePlot(plane.place, f"{plane.y_name} against {plane.x_name}", plot)


def _methods(table: pd.DataFrame) -> Iterator[tuple[Place, str, pd.DataFrame]]:
    """The rows of each method, place by place."""
    for place, members in by_place(table):
        for method, own in members.groupby("method", sort=False):
            yield place, str(method), own


def _forget_ends(members: pd.DataFrame) -> tuple[float, float]:
    """The ends of the axis on which the column FORGET is drawn."""
    rows = members[members["figure"] == "FORGET"]
    values = [value for key in ("mean", "low", "high", "floor") for value in rows[key]]
    return spread([0.0, *values, *(value for points in rows["points"] for value in points)])


def _best_first(metrics: pd.DataFrame, name: str) -> float:
    """A metric as a key to sort by: a method without it comes last."""
    value = value_at(metrics, name, "mean")
    return -better(name) * value if math.isfinite(value) else math.inf
