"""The table of `summary` in other formats: CSV with numbers, Markdown and LaTeX with a cell for each metric."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence

import pandas as pd

from ril_bench.errors import UserError, nearest
from ril_bench.metrics.statistics import CLAIM_UNITS
from ril_bench.reporting import text
from ril_bench.reporting.collapse import MARK
from ril_bench.reporting.place import by_place
from ril_bench.reporting.summary import BASELINE

TextTable = tuple[str, list[list[str]]]  # a title, and rows of cells
FORMATS = ("csv", "md", "latex")
_MARKDOWN = str.maketrans({c: f"\\{c}" for c in "\\`*_{}[]<>#|&~"} | {"\n": " ", "\r": " "})
_LATEX = str.maketrans(
    {c: f"\\{c}" for c in "{}$&#_%"}
    | {"\\": r"\textbackslash{}", "^": r"\textasciicircum{}", "~": r"\textasciitilde{}"}
    | {"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}"}
    | {"[": "{[}", "]": "{]}"}  # bare, a bracket after a row's end would be an argument of it
    | {"†": r"\textdagger{}", MARK: r"\textdaggerdbl{}", "\n": " ", "\r": " "}
)


def write_table(table: pd.DataFrame, kind: str, *, paired: bool = False) -> str:
    """The table as "csv" (a row for each method and metric), "md" or "latex" (one table for each place,
    with booktabs), ending in a newline. `paired`: a cell of the latter two is the difference to naive.
    """
    if kind == "csv":
        return _csv(table)
    write, escaped = {"md": (_markdown, _MARKDOWN), "latex": (_latex, _LATEX)}[kind]
    return write(list(_grids(table, lambda name: _plain(name).translate(escaped), paired)))


def chosen(table: pd.DataFrame, metrics: Sequence[str]) -> pd.DataFrame:
    """The rows of some metrics, in the order of `metrics`. Raises UserError for one that the table lacks."""
    known = list(dict.fromkeys(table["figure"]))
    for name in metrics:
        if name not in known:
            raise UserError(f"no metric is called {name!r}", where="--metric", hint=nearest(name, known))
    return pd.concat([table[table["figure"] == name] for name in metrics])


def _csv(table: pd.DataFrame) -> str:
    listed = {
        name: table[name].map(lambda values: " ".join(f"{value:.6g}" for value in values))
        for name in ("points", "difference_points")
    }
    return str(table.assign(**listed).to_csv(index=False, lineterminator="\n"))


def _markdown(grids: Iterable[TextTable]) -> str:
    lines = []
    for title, (head, *body) in grids:
        lines += [f"**{title}**", "", f"| {' | '.join(head)} |", "|---|" + "---:|" * (len(head) - 1)]
        lines += [f"| {' | '.join(row)} |" for row in body]
        lines.append("")
    return "\n".join(lines)


def _latex(grids: Iterable[TextTable]) -> str:
    lines = ["% Needs \\usepackage{booktabs}."]
    for title, grid in grids:
        head, *body = (" & ".join(row).replace(text.MINUS, "$-$").replace(text.MISSING, "--") for row in grid)
        lines += [f"% {title}", f"\\begin{{tabular}}{{l{'r' * (len(grid[0]) - 1)}}}", r"\toprule"]
        lines += [
            rf"{head} \\",
            r"\midrule",
            *(rf"{row} \\" for row in body),
            r"\bottomrule",
            r"\end{tabular}",
        ]
    return "\n".join(lines) + "\n"


def _plain(value: str) -> str:
    """One line of printable characters."""
    return "".join(c for c in " ".join(value.split()) if c.isprintable())


def _grids(table: pd.DataFrame, escape: Callable[[str], str], paired: bool) -> Iterator[TextTable]:
    """(title, rows of cells) for each place; the larger of methods and metrics goes down.

    Names come from files and are escaped; the names of metrics are ours.
    """
    for place, members in by_place(table):
        methods = [name for name in dict.fromkeys(members["method"]) if not (paired and name == BASELINE)]
        metrics = list(dict.fromkeys(members["figure"]))
        rows = members.set_index(["method", "figure"])
        oracles = set(members.loc[members["oracle"], "method"])
        collapsed = set(members.loc[members["collapsed"] > 0, "method"])
        marks = {name: " †" * (name in oracles) + f" {MARK}" * (name in collapsed) for name in methods}
        cell = _difference if paired else cell_text
        grid = [["", *(escape(f"{name}{marks[name]}") for name in methods)]]
        grid += [[escape(name), *(cell(rows.loc[(method, name)]) for method in methods)] for name in metrics]
        if len(methods) > len(metrics):
            grid = [list(column) for column in zip(*grid, strict=True)]
        scale, seeds = members["scale"].iloc[0], members["seeds"].iloc[0]
        note = ", † uses what RIL forbids" if oracles else ""
        note += f", {MARK} a step of some seed collapsed" if collapsed else ""
        note += f"; differences to {BASELINE}, paired" if paired else ""
        yield escape(f"{place.title} ({scale}, {seeds} seed{'s' if seeds > 1 else ''}{note})"), grid


def compared(rows: pd.DataFrame) -> Iterator[TextTable]:
    """(title, rows of cells) of `comparison.compare` for each place.

    The sides are means. The difference has its interval from five seeds on; below, every pair's is shown.
    """
    for place, members in by_place(rows):
        scale, seeds = members["scale"].iloc[0], members["seeds"].iloc[0]
        marks = {side: f" {MARK}" * bool(members[f"{side}_collapsed"].any()) for side in "ab"}
        a, b = (f"{side.upper()}: {members[f'{side}_method'].iloc[0]}{mark}" for side, mark in marks.items())
        claims = bool(seeds >= CLAIM_UNITS)
        cells = [
            ["metric", a, b, "B − A [95%]" if claims else "B − A, each pair"] + ["share B better"] * claims
        ]
        for _, row in members.iterrows():
            sides = [text.short(row[f"{side}_mean"]) for side in "ab"]
            arrow = "↑" if row["better"] > 0 else "↓"
            improvement = [text.fixed(row["improvement"])] * claims
            cells.append([f"{arrow} {row['figure']}", *sides, _difference(row), *improvement])
        yield f"{place.title} ({scale}, {seeds} seed{'s' if seeds > 1 else ''})", cells


def cell_text(row: pd.Series) -> str:
    """A cell: "mean [low, high]", or every point where nothing is claimed; its floor and caution behind it."""
    words = _interval(row["mean"], row["low"], row["high"], row["points"])
    notes = [f"floor {text.short(row['floor'])}"] if not math.isnan(row["floor"]) else []
    notes += ["biased"] if row["biased"] else []
    return f"{words} ({', '.join(notes)})" if notes else words


def _difference(row: pd.Series) -> str:
    """A method's paired difference to naive; a dash where there is none."""
    if math.isnan(row["difference"]):
        return text.MISSING
    return _interval(*(row[f"difference{part}"] for part in ("", "_low", "_high", "_points")))


def _interval(mean: float, low: float, high: float, points: Sequence[float] = ()) -> str:
    """Every point, or the mean and its interval; once where it is the same in every seed."""
    if len(set(points)) > 1:
        return ", ".join(text.short(value) for value in points)
    if math.isnan(low) or high - low <= 1e-9 * abs(mean):
        return text.short(mean)
    return f"{text.short(mean)} [{text.short(low)}, {text.short(high)}]"
