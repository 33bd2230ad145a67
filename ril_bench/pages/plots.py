"""Figures as inline SVG without a background: matplotlib draws them, the page's style sheet colours them.

Colours are given to matplotlib as stand-ins that become CSS variables, so that one figure reads well in a
light and in a dark page. Shades of a heatmap are opacities of two hues (PuOr's ends, told apart by
colour-blind readers) over whatever lies behind. The same data give the same bytes.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any
from xml.etree import ElementTree

import matplotlib
import numpy as np
from markupsafe import Markup
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from ril_bench.pages.text import fixed

INK, MUTED, RULE, UP, DOWN = "#010a01", "#010a02", "#010a03", "#010a04", "#010a05"
SERIES = ["#010b00", "#010b01", "#010b02", "#010b03", "#010b04", "#010b05"]
_VARIABLES = {INK: "ink", MUTED: "muted", RULE: "rule", UP: "up", DOWN: "down"}
_VARIABLES |= {colour: f"series-{i}" for i, colour in enumerate(SERIES)}
_DASHES: list[str | tuple[int, tuple[float, ...]]] = [
    "-",
    (0, (5, 1.5)),
    (0, (1.5, 1.5)),
    (0, (6, 1.5, 1.5, 1.5)),
]
_MARKERS = ["o", "s", "D", "^", "v", "P"]

# Laid over matplotlib's defaults: whatever the reader's own matplotlibrc says, the bytes are the same.
_STYLE: dict[str, Any] = {
    "svg.fonttype": "none",  # text stays text: the page's font and colour, and a reader can search it
    "text.parse_math": False,  # a "$" in a name is a dollar
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": RULE,
    "axes.labelcolor": MUTED,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "xtick.color": RULE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "ytick.left": False,
    "legend.frameon": False,
    "figure.facecolor": "none",
    "path.simplify": False,
}

Points = Sequence[tuple[float, float | None]]


def heatmap(
    name: str,
    values: Sequence[Sequence[float | None]],
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    limit: float,
    first_step: int,
    ends: tuple[str, str],
    label: str,
) -> Markup:
    """Signed values (rows, columns) with the number in each cell; the strongest colour stands for +-limit.

    Row i is step first_step + i; the cell of the reward that its task trained is framed. `ends` says what the
    two ends of the colour scale mean.
    """
    tall, wide = len(rows), len(columns)
    rows, columns = [_clip(r) for r in rows], [_clip(c) for c in columns]
    longest = max(map(len, columns))
    cell_w, cell_h = min(max(8.4 / wide, 0.66), 1.3), 0.6  # inches, as are all lengths here
    tilt = longest * 0.078 > cell_w
    left = 0.42 + 0.074 * max(map(len, rows))
    top = 0.26 + (0.046 * longest if tilt else 0.0)
    right, bottom = 0.05 + (0.055 * longest if tilt else 0.0), 0.6
    scale_w = min(max(wide * cell_w, 1.9), 2.6)
    width = left + max(wide * cell_w + right, scale_w)
    height = top + tall * cell_h + bottom
    with style.context(["default", _STYLE]):
        figure = Figure(figsize=(width, height))
        axes = figure.add_axes((left / width, bottom / height, wide * cell_w / width, tall * cell_h / height))
        axes.set(xlim=(0, wide), ylim=(tall, 0), xticks=[], yticks=[])
        axes.grid(False)
        axes.spines["bottom"].set_visible(False)
        gap_x, gap_y = 0.025 / cell_w, 0.025 / cell_h
        for i, row in enumerate(values):
            for j, value in enumerate(row):
                box = (j + gap_x, i + gap_y), 1 - 2 * gap_x, 1 - 2 * gap_y
                if value is None:
                    axes.add_patch(
                        Rectangle(*box, facecolor="none", edgecolor=RULE, linewidth=0.6, hatch="///")
                    )
                else:
                    axes.add_patch(Rectangle(*box, facecolor=RULE, linewidth=0, alpha=0.35))
                    shade = min(abs(value) / limit, 1.0)
                    axes.add_patch(
                        Rectangle(*box, facecolor=UP if value > 0 else DOWN, linewidth=0, alpha=shade)
                    )
                trained = first_step + i == j + 1
                if trained:
                    axes.add_patch(Rectangle(*box, facecolor="none", edgecolor=INK, linewidth=1.4))
                axes.text(
                    j + 0.5,
                    i + 0.5,
                    fixed(value),
                    ha="center",
                    va="center_baseline",
                    size=12,
                    color=INK if value is not None else MUTED,
                    weight="bold" if trained else "normal",
                )
        for j, column in enumerate(columns):
            axes.annotate(
                column,
                (j + 0.5, 0),
                (0, 6),
                textcoords="offset points",
                ha="left" if tilt else "center",
                rotation=35 if tilt else 0,
                rotation_mode="anchor",
                va="baseline",
            )
        for i, text in enumerate(rows):
            for label_x, part, colour in ((0, str(first_step + i), MUTED), (0.2, text, INK)):
                at = ((label_x - left) / cell_w, i + 0.5)
                axes.text(*at, part, color=colour, ha="left", va="center_baseline")
        beyond = any(value is not None and abs(value) > limit for row in values for value in row)
        low, high = ("≤ ", "≥ ") if beyond else ("", "")
        said = f"{low}{fixed(-limit, 1)} {ends[0]}", f"{high}{fixed(limit, 1)} {ends[1]}"
        _scale(figure, (left / width, 0.28 / height, scale_w / width, 0.11 / height), said)
        return _svg(figure, name, label)


def curves(name: str, runs: Mapping[str, Points], *, unit: str, label: str) -> Markup:
    """Reward over the updates of one task: a thin line as logged, a thick one as its moving mean."""
    with style.context(["default", _STYLE]):
        figure, axes = _panel(3.5, 2.1)
        for k, points in enumerate(runs.values()):
            x = np.array([p[0] for p in points], dtype=float)
            y = np.array([np.nan if p[1] is None else p[1] for p in points], dtype=float)
            axes.plot(x, y, color=SERIES[k % 6], linewidth=0.7, alpha=0.45)
            axes.plot(x, _moving_mean(y), color=SERIES[k % 6], linewidth=1.8, linestyle=_DASHES[k % 4])
        axes.set_xlabel("update")
        axes.set_ylabel(_clip(unit))
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(4))
        return _svg(figure, name, label)


def steps_plot(
    name: str,
    series: Mapping[str, Points],
    *,
    label: str,
    floor: float | None = None,
    top: float | None = None,
) -> Markup:
    """Values over steps, from 0 up; `floor` is drawn as a dotted line, `top` fixes the end of the axis."""
    with style.context(["default", _STYLE]):
        figure, axes = _panel(3.5, 2.1)
        for k, points in enumerate(series.values()):
            x = [p[0] for p in points]
            y = [np.nan if p[1] is None else p[1] for p in points]
            axes.plot(
                x,
                y,
                color=SERIES[k % 6],
                linewidth=1.8,
                linestyle=_DASHES[k % 4],
                marker=_MARKERS[k % 6],
                markersize=4.5,
                clip_on=False,
            )
        if floor is not None:
            axes.axhline(floor, color=MUTED, linewidth=1.0, linestyle=":")
            axes.annotate("floor", (1, floor), (0, 3), xycoords=("axes fraction", "data"),
                          textcoords="offset points", ha="right", color=MUTED, size=8)  # fmt: skip
        axes.set_ylim(bottom=0, top=top)
        axes.set_xlabel("step")
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1))
        axes.yaxis.set_major_locator(MaxNLocator(4))
        return _svg(figure, name, label)


def _panel(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height))
    left, right, bottom, top = 0.58, 0.1, 0.42, 0.12
    box = (left / width, bottom / height, 1 - (left + right) / width, 1 - (bottom + top) / height)
    return figure, figure.add_axes(box)


def _scale(figure: Figure, box: tuple[float, float, float, float], ends: tuple[str, str]) -> None:
    """The colour scale: a band of opacities, and in words what its ends mean."""
    axes = figure.add_axes(box)
    axes.set(xlim=(-1, 1), ylim=(0, 1), yticks=[], xticks=[-1, 0, 1])
    axes.set_xticklabels([ends[0], "0", ends[1]], size=8)
    axes.tick_params(length=0, pad=3)
    axes.grid(False)
    axes.spines["bottom"].set_visible(False)
    for tick, align in zip(axes.get_xticklabels(), ("left", "center", "right"), strict=True):
        tick.set(horizontalalignment=align)
    n = 10
    for k in range(-n, n):
        shade, hue = (abs(k + 0.5) / n, UP if k >= 0 else DOWN)
        axes.add_patch(Rectangle((k / n, 0), 1 / n, 1, facecolor=hue, alpha=shade, linewidth=0))


def _moving_mean(y: np.ndarray) -> np.ndarray:
    """Centred mean over about a tenth of the updates; a missing one is left out of its neighbours' means."""
    half = max(len(y) // 20, 1)
    kernel = np.ones(min(2 * half + 1, 2 * len(y) - 1))
    there = np.isfinite(y)
    total = np.convolve(np.where(there, y, 0.0), kernel, "full")
    number = np.convolve(there.astype(float), kernel, "full")
    middle = slice(len(kernel) // 2, len(kernel) // 2 + len(y))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(there, total[middle] / number[middle], np.nan)


def _clip(text: str, length: int = 26) -> str:
    """One line, short enough for a label, without control characters: SVG is XML, which has none."""
    text = "".join(c for c in " ".join(str(text).split()) if c.isprintable())
    return text if len(text) <= length else f"{text[: length - 1]}…"


def _svg(figure: Figure, name: str, label: str) -> Markup:
    """The figure as an <svg> element for an HTML page: an alternative text, no prolog, no stray ids.

    `name` salts the ids that clip paths and markers need; it must be unique in a page.
    """
    buffer = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": name}):
        figure.savefig(
            buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None}
        )
    svg = ElementTree.fromstring(buffer.getvalue())
    for parent in list(svg.iter()):
        for child in list(parent):
            if child.tag.endswith(("}metadata", "}style")) or (
                child.tag.endswith("}defs") and child[0].tag.endswith("}style")
            ):
                parent.remove(child)
    used = set(
        re.findall(r"#([\w.-]+)", " ".join(v for e in svg.iter() for k, v in e.attrib.items() if k != "id"))
    )
    for element in svg.iter():
        element.tag = element.tag.rpartition("}")[2]  # HTML knows svg without namespaces
        element.attrib = {
            k.rpartition("}")[2]: _themed(v) for k, v in element.attrib.items() if k != "id" or v in used
        }
    width, height = (72 * inches for inches in figure.get_size_inches())
    svg.attrib = {
        "role": "img",
        "aria-label": "".join(c for c in label if c.isprintable()),
        "width": f"{width * 4 / 3:.0f}",  # a point is 4/3 of CSS's pixels
        "height": f"{height * 4 / 3:.0f}",
        "viewBox": f"0 0 {width:g} {height:g}",
    }
    return Markup(ElementTree.tostring(svg, encoding="unicode"))


def _themed(attribute: str) -> str:
    """Stand-in colours become CSS variables, and the page's font takes the place of matplotlib's."""
    for colour, variable in _VARIABLES.items():
        attribute = attribute.replace(colour, f"var(--{variable})")
    return re.sub(r"font: (?:(\d+|bold) )?([\d.]+)px [^;]*", _font, attribute)


def _font(match: re.Match[str]) -> str:
    return f"font-size: {match[2]}px{'; font-weight: 650' if match[1] else ''}"
