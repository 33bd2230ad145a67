"""Figures for papers, as PDF, SVG and PNG: the planes of the site, and each method's mean reward matrix.

matplotlib draws them. The same runs give the same bytes.
"""

from __future__ import annotations

import io
import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ril_bench.reporting.index import baseline_first, series_of
from ril_bench.reporting.matrices import shade_limit
from ril_bench.reporting.pareto import Plane, planes
from ril_bench.reporting.place import Place
from ril_bench.reporting.strengths import strengths
from ril_bench.reporting.svg import SERIES, clip
from ril_bench.reporting.text import fixed, slugs
from ril_bench.storage.read import StoredRun, common_scale

COLOURS = ["#5e3c99", "#d9680d", "#2a8c82", "#6b6e78", "#b03a78", "#8a6d1d"]
KINDS = ("pdf", "svg", "png")
PNG_DPI = 200
MARKERS = ["o", "s", "D", "^", "v", "P"]
# The ends of PuOr: colour-blind readers can distinguish them, and numbers printed on them are legible.
_SHADES = LinearSegmentedColormap.from_list("shades", ["#e69b43", "#f2f2ee", "#9488ba"])
# On top of matplotlib's defaults, so that the reader's own matplotlibrc does not change the bytes.
_STYLE: dict[str, Any] = {
    "text.parse_math": False,  # a "$" in a name is a dollar
    "font.size": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "pdf.fonttype": 42,  # TrueType: publishers refuse matplotlib's default
    "svg.fonttype": "none",
    "svg.hashsalt": "ril-bench",
}


#: inches: a plane with one column of its legend, and each further column of so many rows
WIDTH, HEIGHT, COLUMN, ROWS = 3.3, 2.5, 0.95, 13
_LINES: dict[str, dict[str, Any]] = {
    "floor": {"color": "0.45", "linewidth": 0.8, "linestyle": ":"},
    "front": {"color": "0.45", "linewidth": 0.8},
    "trace": {"color": "0.6", "linewidth": 0.8, "linestyle": "--"},
}


def figures(table: pd.DataFrame, runs: Sequence[StoredRun]) -> Iterator[tuple[str, bytes]]:
    """(file name, content) of every figure; see `summary.table`."""
    with style.context(["default", _STYLE]):
        drawn = [
            (" ".join((*p.place.words, p.y_name, p.x_name)), _plane(p))
            for p in planes(table, series_of(table), strengths(runs))
        ]
        drawn += list(_matrices(runs))
        for name, (_, figure) in zip(slugs(name for name, _ in drawn), drawn, strict=True):
            figure.draw_without_rendering()  # lays everything out, once for all kinds
            figure.set_layout_engine("none")
            for kind in KINDS:
                yield f"{name}.{kind}", _saved(figure, kind)


def _plane(plane: Plane) -> Figure:
    """The same marks as on the site, with a legend in the place of names beside the points."""
    figure = Figure(layout="constrained")
    axes = figure.add_subplot()
    named: set[str] = set()
    for mark in plane.marks():
        xs, ys = zip(*mark.xy, strict=True)
        if mark.point is None:
            axes.plot(xs, ys, zorder=0, **_LINES[mark.kind])
            continue
        colour = COLOURS[mark.point.series % SERIES]
        if mark.kind == "bar":
            axes.plot(xs, ys, color=colour, linewidth=1)
            continue
        axes.plot(
            xs,
            ys,
            color=colour,
            linestyle="none",
            marker=MARKERS[(mark.point.series + mark.point.series // SERIES) % SERIES],
            markersize=5 if mark.kind == "mean" else 3.5,
            markerfacecolor="white" if mark.point.apart else colour,
            label=None if mark.point.name in named else clip(mark.point.name, 20),
        )
        named.add(mark.point.name)
    (left, right), (bottom, top) = plane.ends
    axes.set(xlabel=plane.x_name, ylabel=plane.y_name, xlim=(left, right), ylim=(bottom, top))
    columns = max(1, math.ceil(len(named) / ROWS))
    figure.set_size_inches(WIDTH + COLUMN * (columns - 1), HEIGHT)
    figure.legend(
        loc="outside right upper", frameon=False, handletextpad=0.2, columnspacing=0.8, ncols=columns
    )
    return figure


def _matrices(runs: Sequence[StoredRun]) -> Iterator[tuple[str, Figure]]:
    """The mean of N over seeds: a figure for each place, a panel for each method."""
    scale = common_scale(runs)
    groups: dict[Place, dict[str, list[np.ndarray]]] = defaultdict(lambda: defaultdict(list))
    rewards: dict[Place, list[str]] = {}
    for run in runs:
        place = Place.of(run)
        if values := run.continual(scale, "N"):
            groups[place][run.name].append(np.array(values, dtype=float))
            rewards[place] = [clip(name, 16) for name in run.rewards]
    for place, methods in groups.items():
        means = {name: np.mean(methods[name], axis=0) for name in sorted(methods, key=baseline_first)}
        limit = shade_limit([mean.tolist() for mean in means.values()], scale)
        tall, wide = next(iter(means.values())).shape
        figure = Figure(figsize=(1.3 + 0.85 * wide * len(means), 0.9 + 0.34 * tall), layout="constrained")
        panels = figure.subplots(1, len(means), squeeze=False)[0]
        for axes, (name, mean) in zip(panels, means.items(), strict=True):
            _matrix(axes, mean, limit)
            axes.set_title(clip(name, 24))
            axes.set_xticks(range(wide), rewards[place])
            axes.set_yticks([])
        panels[0].set_yticks(range(tall), ["pretrained", *rewards[place]])
        yield f"{' '.join(place)} matrices", figure


def _matrix(axes: Axes, mean: np.ndarray, limit: float) -> None:
    axes.imshow(mean, cmap=_SHADES, vmin=-limit, vmax=limit, aspect="auto")
    for (i, j), value in np.ndenumerate(mean):
        axes.text(j, i, fixed(float(value)), ha="center", va="center")
        if i == j + 1:  # where the reward was trained
            axes.add_patch(Rectangle((j - 0.48, i - 0.47), 0.96, 0.94, fill=False, linewidth=1))
    axes.tick_params(length=0, top=True, labeltop=True, bottom=False, labelbottom=False)
    axes.spines[:].set_visible(False)


def _saved(figure: Figure, kind: str) -> bytes:
    buffer = io.BytesIO()
    no_date = {"pdf": {"CreationDate": None}, "svg": {"Date": None}, "png": {"Software": None}}[kind]
    with matplotlib.rc_context({"svg.hashsalt": "ril-bench"}):
        figure.savefig(buffer, format=kind, metadata=no_date, dpi=PNG_DPI)
    return buffer.getvalue()
