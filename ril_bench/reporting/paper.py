"""Figures for papers, as PDF and SVG: the planes of the site, and each method's mean reward matrix.

matplotlib draws these and nothing else. The same runs give the same bytes.
"""

from __future__ import annotations

import io
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

from ril_bench.reporting.index import BETTER, baseline_first, series_of
from ril_bench.reporting.matrices import shade_limit
from ril_bench.reporting.pareto import Pareto, planes
from ril_bench.reporting.svg import clip
from ril_bench.reporting.text import fixed, slugs
from ril_bench.storage.read import Run, common_scale

COLOURS = ["#5e3c99", "#d9680d", "#2a8c82", "#6b6e78", "#b03a78", "#8a6d1d"]
MARKERS = ["o", "s", "D", "^", "v", "P"]
# PuOr's ends, told apart by colour-blind readers, and light enough to print numbers on.
_SHADES = LinearSegmentedColormap.from_list("shades", ["#e69b43", "#f2f2ee", "#9488ba"])
# Laid over matplotlib's defaults: whatever the reader's own matplotlibrc says, the bytes are the same.
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


def figures(table: pd.DataFrame, runs: Sequence[Run]) -> Iterator[tuple[str, bytes]]:
    """(file name, content) of every figure; see `summary.table`."""
    with style.context(["default", _STYLE]):
        drawn = [
            (f"{p.sequence} {p.tuner} {p.y_name} {p.x_name}", _plane(p))
            for p in planes(table, BETTER, series_of(table))
        ]
        drawn += list(_matrices(runs))
        for name, (_, figure) in zip(slugs(name for name, _ in drawn), drawn, strict=True):
            figure.draw_without_rendering()  # places everything, once for both kinds
            figure.set_layout_engine("none")
            for kind in ("pdf", "svg"):
                yield f"{name}.{kind}", _saved(figure, kind)


def _plane(plane: Pareto) -> Figure:
    figure = Figure(figsize=(3.3, 2.5), layout="constrained")
    axes = figure.add_subplot()
    for p in plane.points:
        look: dict[str, Any] = {
            "color": COLOURS[p.series % 6],
            "marker": MARKERS[(p.series + p.series // 6) % 6],
            "linestyle": "none",
        }
        look["markerfacecolor"] = "white" if p.oracle else COLOURS[p.series % 6]
        if p.units:
            axes.plot(*zip(*p.units, strict=True), label=clip(p.name, 20), markersize=3.5, **look)
        else:
            spans = ([[p.x - p.x_low], [p.x_high - p.x]], [[p.y - p.y_low], [p.y_high - p.y]])
            axes.errorbar(p.x, p.y, *spans[::-1], label=clip(p.name, 20), markersize=5, elinewidth=1, **look)
    for curve in plane.curves:
        axes.plot(
            [p.x for p in curve], [p.y for p in curve], color="0.6", linewidth=0.8, linestyle="--", zorder=0
        )
    if len(plane.front) > 1:
        axes.plot(
            [p.x for p in plane.front], [p.y for p in plane.front], color="0.45", linewidth=0.8, zorder=0
        )
    if plane.x_floor is not None:
        axes.axvline(plane.x_floor, color="0.45", linewidth=0.8, linestyle=":")
    if plane.y_floor is not None:
        axes.axhline(plane.y_floor, color="0.45", linewidth=0.8, linestyle=":")
    axes.set(xlabel=plane.x_name, ylabel=plane.y_name)
    figure.legend(loc="outside right upper", frameon=False, handletextpad=0.2)
    return figure


def _matrices(runs: Sequence[Run]) -> Iterator[tuple[str, Figure]]:
    """The mean over seeds of N: a figure for each sequence, order and tuner, a panel a method, one colour scale."""
    scale = common_scale(runs)
    groups: dict[tuple[str, str, str], dict[str, list[np.ndarray]]] = defaultdict(lambda: defaultdict(list))
    rewards: dict[tuple[str, str, str], list[str]] = {}
    for run in runs:
        place = (run.sequence, run.order, run.tuner)
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
    undated = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}[kind]
    with matplotlib.rc_context({"svg.hashsalt": "ril-bench"}):
        figure.savefig(buffer, format=kind, metadata=undated)
    return buffer.getvalue()
