"""What the first page of a site shows, made from the one table: answers, rows, planes, runs."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
from markupsafe import Markup

from ril_bench.reporting import plots, summary, text
from ril_bench.reporting.columns import COLUMNS as METRICS
from ril_bench.reporting.glossary import BY_NAME
from ril_bench.reporting.pareto import planes
from ril_bench.reporting.svg import spread
from ril_bench.storage.read import Run

# What a reader asks, and the figures that answer: the heads of the table's columns.
COLUMNS = (
    ("What was forgotten", ("FORGET", "BWT")),
    ("What was learned", ("LEARN", "FINAL", "WORST")),
    ("What it cost", ("carried MB", "denoiser evaluations", "seconds")),
    ("What became of the images", ("SSIM to step 0", "KID", "FID", "Vendi")),
)
RECOMPUTED, REMADE, CLAIMED = "recomputed", "made again", "claimed"
SIGNIFICANT = 0.05  # of p values adjusted over methods
RANKED = ("FORGET", "BWT", "LEARN", "FINAL", "WORST", "SSIM to step 0", "KID", "FID")
COMPARED = ("FORGET", "LEARN", "FINAL", "SSIM to step 0", "KID", "FID")
LISTED = ("FORGET", "BWT", "LEARN", "FINAL", "SSIM to step 0", "FID", "seconds")
BETTER = {column.name: column.better for column in METRICS}
MEANINGS = {name: metric.meaning for name, metric in BY_NAME.items()}


@dataclass(frozen=True)
class Cell:
    """A figure in a row: `value` sorts, `big` is shown, with its interval and notes beneath."""

    value: str
    big: str
    small: str = ""
    notes: str = ""
    glyph: Markup = field(default_factory=Markup)


_NONE = Cell("", text.MISSING)


@dataclass(frozen=True)
class Row:
    """A method's row, or a run's; `keys` are what the filters read."""

    name: str
    series: int
    oracle: bool
    keys: dict[str, str]
    places: dict[str, str]  # the cells before the figures: sequence, tuner, ...
    cells: Sequence[Cell]
    link: str | None = None
    official: bool = True

    @property
    def mark(self) -> Markup:
        """The method's marker in every figure."""
        return plots.key(self.series, self.oracle)


@dataclass(frozen=True)
class Entered:
    """A method's entries: what its method.yaml says, and of how many entries how many images were made again."""

    name: str
    revision: str
    card: dict[str, Any]
    entries: int
    remade: int
    images: int


@dataclass(frozen=True)
class Answer:
    """Which method forgets least in one sequence and tuner, and at what price; in words."""

    keys: dict[str, str]
    place: str
    words: Markup


@dataclass(frozen=True)
class Plane:
    keys: dict[str, str]
    place: str
    title: str
    figure: Markup


def baseline_first(method: str) -> tuple[bool, str]:
    """A key to sort methods by where no figure orders them."""
    return method != summary.BASELINE, method


def series_of(table: pd.DataFrame) -> dict[str, int]:
    """A colour and marker for each method, the same in every figure: the baseline first, then by name."""
    names = sorted(set(table["method"]), key=baseline_first)
    return {name: k for k, name in enumerate(names)}


def columns(table: pd.DataFrame, known: Sequence[str]) -> list[str]:
    """The figures that the table has, in the page's order; KID only where FID is biased, and before it."""
    there = set(table["figure"])
    if "FID" in there and not table["biased"].any():
        there.discard("KID")
    return [name for name in known if name in there]


def places(runs: pd.DataFrame) -> dict[str, list[str]]:
    """What a row says of itself beside its method: only what is not the same in every row."""
    several = {key for key in ("sequence", "tuner", "order") if runs[key].nunique() > 1}
    kinds = {"methods": ("sequence", "tuner", "units"), "against": ("sequence", "tuner"),
             "runs": ("sequence", "tuner", "order", "seed")}  # fmt: skip
    always = {"units", "seed"}
    return {name: [key for key in keys if key in several | always] for name, keys in kinds.items()}


def head(names: Sequence[str]) -> list[tuple[str, int]]:
    """(question, number of columns) over the columns."""
    counts = ((title, sum(name in figures for name in names)) for title, figures in COLUMNS)
    return [(title, n) for title, n in counts if n]


def method_rows(table: pd.DataFrame, runs: pd.DataFrame, names: Sequence[str]) -> list[Row]:
    """A row for each sequence, tuner and method: least FORGET first."""
    series = series_of(table)
    precision = {name: _precision(table, name) for name in names}
    rows = []
    for (sequence, tuner), members in table.groupby(["sequence", "tuner"], sort=False):
        by_method = {
            str(name): part.set_index("figure") for name, part in members.groupby("method", sort=False)
        }
        forget = members[members["figure"] == "FORGET"]
        shown = [v for key in ("mean", "low", "high", "floor") for v in forget[key]] + [0.0]
        ends = spread([*shown, *(v for points in forget["points"] for v in points)])
        for method in sorted(by_method, key=lambda name: _at(by_method[name], "FORGET", "mean", last=True)):
            part = by_method[method]
            own = runs[(runs["sequence"] == sequence) & (runs["tuner"] == tuner) & (runs["method"] == method)]
            keys = _keys(sequence, tuner, method, sorted(set(own["order"])))
            cells = [
                _cell(_row(part, name), precision[name], ends if name == "FORGET" else None, series[method])
                if name in part.index
                else _NONE
                for name in names
            ]
            oracle, units = bool(part["oracle"].iloc[0]), str(part["units"].iloc[0])
            where = {"sequence": str(sequence), "tuner": str(tuner), "units": units}
            official = bool(own["official"].all())
            rows.append(Row(method, series[method], oracle, keys, where, cells, None, official))
    return rows


def against_rows(table: pd.DataFrame, names: Sequence[str]) -> list[Row]:
    """A row for each method with a baseline beside it and units enough to claim anything: paired differences."""
    series = series_of(table)
    precision = {name: text.decimals(table.loc[table["figure"] == name, "difference"]) for name in names}
    rows = []
    for (sequence, tuner, method), part in table.groupby(["sequence", "tuner", "method"], sort=False):
        by_figure = part.set_index("figure")
        if part["difference_low"].isna().all():
            continue  # the baseline itself, or units too few to claim anything
        cells = [
            _difference(_row(by_figure, name), precision[name]) if name in by_figure.index else _NONE
            for name in names
        ]
        keys, oracle = _keys(sequence, tuner, method), bool(part["oracle"].iloc[0])
        where = {"sequence": str(sequence), "tuner": str(tuner)}
        rows.append(Row(str(method), series[str(method)], oracle, keys, where, cells))
    return rows


def run_rows(
    runs: pd.DataFrame, table: pd.DataFrame, links: Sequence[str], names: Sequence[str]
) -> list[Row]:
    """A row for each run, which leads to its page."""
    series = series_of(table)
    precision = {name: text.decimals(runs[name]) for name in names}
    rows = []
    for run, link in zip(runs.to_dict("records"), links, strict=True):
        cells = [Cell(_sortable(run[name]), _figure(run[name], precision[name])) for name in names]
        keys = _keys(run["sequence"], run["tuner"], run["method"], [run["order"]])
        where = {key: str(run[key]) for key in ("sequence", "tuner", "order", "seed")}
        name, official = run["method"], run["official"]
        rows.append(Row(name, series[name], run["oracle"], keys, where, cells, link, official))
    return rows


def rank_rows(table: pd.DataFrame, names: Sequence[str]) -> list[Row]:
    """A row for each honest method that has a rank: its place in each figure, 1 the best, with its interval."""
    series = series_of(table)
    rows = []
    for (sequence, tuner, method), part in table.groupby(["sequence", "tuner", "method"], sort=False):
        by_figure = part.set_index("figure")
        cells = [_rank(_row(by_figure, name)) if name in by_figure.index else _NONE for name in names]
        if any(cell.value for cell in cells):
            where = {"sequence": str(sequence), "tuner": str(tuner)}
            rows.append(
                Row(str(method), series[str(method)], False, _keys(sequence, tuner, method), where, cells)
            )
    return rows


def origins(runs: Sequence[Run]) -> dict[str, str]:
    """How far each figure of a leaderboard's entries is to be trusted, in a word; nothing of runs of one's own."""
    entries = [run.entry for run in runs if run.entry]
    if not entries:
        return {}
    images = REMADE if all(entry.whole for entry in entries) else CLAIMED
    words = {"scores": RECOMPUTED, "images": images, "run": CLAIMED}
    return {column.name: words[column.origin] for column in METRICS}


def entry_rows(runs: Sequence[Run]) -> list[Entered]:
    """Who made each method of a leaderboard, how it was tuned, and how much of it the maintainers made again."""
    by_method: dict[str, list[Run]] = {}
    for run in runs:
        if run.entry:
            by_method.setdefault(run.name, []).append(run)
    found = []
    for name in sorted(by_method, key=baseline_first):
        own = by_method[name]
        note = own[0].entry
        assert note is not None
        remade = [run.entry.remade for run in own if run.entry and run.entry.remade]
        images = sum(one["images"] for one in remade)
        found.append(Entered(name, note.revision, note.card, len(own), len(remade), images))
    return found


def plane_figures(table: pd.DataFrame) -> Iterator[Plane]:
    """The Pareto plots of every sequence and tuner."""
    for pareto in planes(table, BETTER, series_of(table)):
        title = f"{pareto.y_name} against {pareto.x_name}"
        figure = plots.pareto_plot(pareto, f"{pareto.sequence}, {pareto.tuner}: {plots.spoken(pareto)}")
        yield Plane(
            _keys(pareto.sequence, pareto.tuner), f"{pareto.sequence} · {pareto.tuner}", title, figure
        )


def answers(table: pd.DataFrame) -> Iterator[Answer]:
    """Which method forgets least, and at what price, for each sequence and tuner."""
    for (sequence, tuner), members in table.groupby(["sequence", "tuner"], sort=False):
        honest = members[~members["oracle"]]
        parts = {str(name): part.set_index("figure") for name, part in honest.groupby("method", sort=False)}
        yield Answer(_keys(sequence, tuner), f"{sequence} · {tuner}", _answer(parts))


def _answer(parts: dict[str, pd.DataFrame]) -> Markup:
    known = {name: part for name, part in parts.items() if math.isfinite(_at(part, "FORGET", "mean"))}
    if not known:
        return Markup("No figure of forgetting: it takes two tasks and every unit.")
    least = min(known, key=lambda name: _at(known[name], "FORGET", "mean"))
    row = _row(known[least], "FORGET")
    if row["points"]:
        n = len(row["points"])
        words = Markup("{} unit{} a method: every point is shown, and below five nothing is claimed.")
        return words.format(n, "s" if n > 1 else "")
    others = [name for name in known if name != least]
    if not others:
        return Markup("<strong>{}</strong> stands alone: FORGET {}.").format(least, _interval(row))
    lowest = Markup("<strong>{}</strong> has the lowest FORGET, {}").format(least, _interval(row))
    if summary.BASELINE not in known:
        return lowest + "; there are no naive runs to compare it with."
    naive, words = known[summary.BASELINE], Markup("{}: {} paired{}.")
    if least == summary.BASELINE:
        least = min(others, key=lambda name: _at(known[name], "FORGET", "difference"))
        row, verdict = _row(known[least], "FORGET"), Markup("; nearest is <strong>{}</strong>").format(least)
    elif row["difference_high"] < 0 and not row["p_holm"] >= SIGNIFICANT:
        verdict = Markup(", and forgets less than naive")
    else:
        verdict = Markup(", but is not told apart from naive")
    return lowest + words.format(verdict, _interval(row, "difference"), _price(known[least], naive))


def _price(part: pd.DataFrame, naive: pd.DataFrame) -> str:
    """What a method costs beside naive: denoiser evaluations, memory, learning."""
    parts = []
    ratio = _at(part, "denoiser evaluations", "mean") / _at(naive, "denoiser evaluations", "mean")
    if math.isfinite(ratio):
        parts.append(f"{text.ratio(ratio)} the denoiser evaluations")
    if math.isfinite(carried := _at(part, "carried MB", "difference")):
        parts.append(f"{_signed(carried)} MB carried")
    if math.isfinite(learned := _at(part, "LEARN", "difference")):
        parts.append(f"LEARN {_signed(learned)}")
    return f", at {', '.join(parts)}" if parts else ""


def _row(part: pd.DataFrame, figure: str) -> pd.Series:
    return pd.Series(part.loc[figure])


def _at(part: pd.DataFrame, figure: str, column: str, last: bool = False) -> float:
    value = float(part[column][figure]) if figure in part.index else math.nan
    return math.inf if last and math.isnan(value) else value


def _keys(
    sequence: object, tuner: object, method: object = None, orders: Sequence[str] = ()
) -> dict[str, str]:
    keys = {"sequence": str(sequence), "tuner": str(tuner)}
    if method is not None:
        keys["method"] = str(method)
    if orders:
        keys["orders"] = json.dumps(list(orders))
    return keys


def _precision(table: pd.DataFrame, figure: str) -> int:
    members = table[table["figure"] == figure]
    return text.decimals(v for key in ("mean", "points") for value in members[key] for v in _several(value))


def _several(value: object) -> tuple[float, ...]:
    return value if isinstance(value, tuple) else (float(str(value)),)


def _cell(row: pd.Series, places: int, ends: tuple[float, float] | None, series: int) -> Cell:
    glyph = Markup()
    if ends is not None:
        glyph = plots.forest(row["mean"], row["low"], row["high"], row["points"], row["floor"], ends, series)
    floor = text.fixed(row["floor"], text.decimals([row["floor"]], 2))
    notes = [f"floor {floor}"] if math.isfinite(row["floor"]) else []
    notes += ["biased"] if row["biased"] else []
    value = _sortable(row["mean"])
    if len(set(row["points"])) > 1:
        return Cell(value, "", " ".join(_figure(v, places) for v in row["points"]), ", ".join(notes), glyph)
    shown = f"[{_figure(row['low'], places)}, {_figure(row['high'], places)}]"
    constant = not math.isfinite(row["low"]) or row["high"] - row["low"] < 1e-9 * abs(row["mean"])
    return Cell(value, _figure(row["mean"], places), "" if constant else shown, ", ".join(notes), glyph)


def _rank(row: pd.Series) -> Cell:
    if math.isnan(row["rank"]):
        return _NONE
    low, high = (str(int(row[key])) for key in ("rank_low", "rank_high"))
    return Cell(_sortable(row["rank"]), str(int(row["rank"])), "" if low == high else f"[{low}, {high}]")


def _difference(row: pd.Series, places: int) -> Cell:
    if math.isnan(row["difference_low"]):
        return _NONE
    bounds = f"[{text.fixed(row['difference_low'], places)}, {text.fixed(row['difference_high'], places)}]"
    notes = [f"P(better) {text.fixed(row['improvement'])}"]
    if math.isfinite(row["p_holm"]):
        notes.append("p < 0.001" if row["p_holm"] < 0.001 else f"p {text.fixed(row['p_holm'], 3)}")
    return Cell(_sortable(row["difference"]), _signed(row["difference"], places), bounds, ", ".join(notes))


def _interval(row: pd.Series, kind: str = "mean") -> str:
    low, high = (row["low"], row["high"]) if kind == "mean" else (row[f"{kind}_low"], row[f"{kind}_high"])
    places = text.decimals([row[kind], low, high])
    value = text.fixed(row[kind], places) if kind == "mean" else _signed(row[kind], places)
    return f"{value} [{text.fixed(low, places)}, {text.fixed(high, places)}]"


def _signed(value: float, places: int | None = None) -> str:
    shown = text.short(value) if places is None else text.fixed(value, places)
    return f"+{shown}" if value > 0 and shown.strip("0.") else shown


def _figure(value: float, places: int) -> str:
    return text.count(value) if places == 0 and abs(value) >= 10_000 else text.fixed(value, places)


def _sortable(value: float) -> str:
    return repr(float(value)) if math.isfinite(value) else ""
