"""The plots of the pages: rewards over updates, metrics over steps, and one metric against another."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from markupsafe import Markup

from ril_bench.reporting.pareto import Plane, Point
from ril_bench.reporting.svg import SERIES, Axes, clip, marker, spread, ticks

Points = Sequence[tuple[float, float | None]]
DRAWN = 320  # points of a thin line: more than one a pixel only makes the page larger


def curves(runs: Mapping[str, Points], *, unit: str, label: str) -> Markup:
    """Reward over the updates of one task: a thin line as logged, a thick one as its moving mean."""
    lines = [(np.array([p[0] for p in points], dtype=float), _floats(points)) for points in runs.values()]
    x_ends = spread((v for x, _ in lines for v in x), pad=0.0)
    axes = Axes((x_ends[0], max(x_ends[1], x_ends[0] + 1)), spread(v for _, y in lines for v in y))
    _frame(axes, "update", unit, x_whole=True)
    for k, (x, y) in enumerate(lines):
        thin = slice(None, None, max(math.ceil(len(x) / DRAWN), 1))
        axes.curve(zip(x[thin], y[thin], strict=True), f"s{k % SERIES} thin")
        axes.curve(zip(x[thin], moving_mean(y)[thin], strict=True), f"s{k % SERIES} d{k % 4}")
    return axes.svg(label)


def steps_plot(
    series: Mapping[str, Points],
    *,
    label: str,
    floor: float | None = None,
    top: float | None = None,
    x_label: str = "step",
    from_zero: bool = True,
) -> Markup:
    """Values over steps, from 0 up; `floor` is drawn as a dotted line, `top` fixes the end of the axis.

    x_label: another quantity than the step; from_zero: whether the axis of values holds 0.
    """
    steps = [p[0] for points in series.values() for p in points]
    values = [p[1] for points in series.values() for p in points]
    low, high = spread([*values, floor, *([0.0] if from_zero else [])])
    if from_zero:
        low = min(low, 0.0) if min(filter(None, values), default=0) < 0 else 0.0
    axes = Axes(spread(steps, 0.04), (low, top or high))
    _frame(axes, x_label, "", x_whole=x_label == "step")
    for k, points in enumerate(series.values()):
        axes.curve(points, f"s{k % SERIES} d{k % 4}")
        for x, y in points:
            if y is not None:
                axes.marker(*axes.at(x, y), k, f"s{k % SERIES} full")
    if floor is not None:
        left, right = (
            min((abs(y - floor) for points in series.values() if points and (y := points[i][1]) is not None),
                default=0.0)
            for i in (0, -1)
        )  # fmt: skip
        _floor_line(axes, floor, at_left=left > right)
    return axes.svg(label)


def plane_plot(plane: Plane, label: str) -> Markup:
    """The marks of a plane: intervals as bars, floors dotted, oracles hollow, and each method's name."""
    axes = Axes(*plane.ends, size=(380, 290), margin=(56, 14, 14, 38))
    _frame(axes, *plane.labels)
    for mark in plane.marks():
        pixels = [axes.at(*xy) for xy in mark.xy]
        if mark.point is None:
            axes.line(pixels, mark.kind)
        elif mark.kind == "bar":
            axes.line(pixels, f"s{mark.point.series % SERIES} bar")
        else:
            css = f"s{mark.point.series % SERIES} {'hollow' if mark.point.apart else 'full'}"
            axes.marker(*pixels[0], mark.point.series, css, 3 if mark.kind == "seed" else 5)
    for floor, across in ((plane.x_floor, False), (plane.y_floor, True)):
        if floor is not None:
            _floor_label(axes, floor, across)
    around = [(x - 6, y - 6, x + 6, y + 6) for x, y in (axes.at(p.x, p.y) for p in plane.points)]
    for point in plane.points:
        _name(axes, point, around)
    return axes.svg(label)


def forest(mean: float, low: float, high: float, points: Iterable[float], floor: float, ends: tuple[float, float],
           series: int) -> Markup:  # fmt: skip
    """An interval beside its number: a bar and a dot on the axis that a column shares. It only decorates the number."""
    axes = Axes(ends, (0, 1), size=(92, 12), margin=(3, 3, 0, 0))
    css = f"s{series % SERIES}"
    axes.line([axes.at(ends[0], 0.5), axes.at(ends[1], 0.5)], "grid")
    if math.isfinite(floor):
        axes.line([axes.at(floor, 0), axes.at(floor, 1)], "floor")
    if math.isfinite(low):
        axes.line([axes.at(low, 0.5), axes.at(high, 0.5)], f"{css} bar")
    for value in tuple(points) or (mean,):
        if math.isfinite(value):
            axes.marker(*axes.at(value, 0.5), 0, f"{css} full", 3)
    return axes.svg("")


def key(series: int, oracle: bool) -> Markup:
    """The marker of a method, drawn before its name."""
    shape = marker(7, 7, series, f"s{series % SERIES} {'hollow' if oracle else 'full'}", 4.5)
    return Markup(
        '<svg class="key" aria-hidden="true" width="14" height="14" viewBox="0 0 14 14">{}</svg>'
    ).format(shape)


def _frame(axes: Axes, x_label: str, y_label: str, x_whole: bool = False) -> None:
    axes.frame(ticks(*axes.x, whole=x_whole), ticks(*axes.y, 5), x_label, y_label)


def _floor_line(axes: Axes, value: float, at_left: bool) -> None:
    """A dotted line across the plot; its label is at the end that is given."""
    left, _, right, _ = axes.box
    y = axes.at(value, value)[1]
    axes.line([(left, y), (right, y)], "floor")
    _floor_label(axes, value, across=True, at_left=at_left)


def _floor_label(axes: Axes, value: float, across: bool, at_left: bool = False) -> None:
    left, top, right, _ = axes.box
    x, y = axes.at(value, value)
    if across:
        axes.text(left + 2 if at_left else right, y - 4, "floor", f"{'' if at_left else 'end '}muted small")
    else:
        axes.text(x + 4, top + 8, "floor", "muted small")


def _name(axes: Axes, point: Point, taken: list[tuple[float, float, float, float]]) -> None:
    """Writes the name of a method where it hides least: right, left, above or below its point."""
    x, y = axes.at(point.x, point.y)
    words = clip(point.label or point.name, 22)
    wide, (left, top, right, bottom) = 6.1 * len(words), axes.box

    def box(dx: float, dy: float, css: str) -> tuple[float, float, float, float]:
        start = x + dx - {"": 0.0, "middle": wide / 2, "end": wide}[css]
        return start, y + dy - 10, start + wide, y + dy + 3

    def hidden(place: tuple[float, float, str]) -> float:
        a = box(*place)
        over = sum(
            max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
            for b in taken
        )
        return over + 40 * sum((a[0] < left, a[2] > right, a[1] < top - 4, a[3] > bottom))

    places = [(9.0, -6.0, ""), (-9.0, -6.0, "end"), (9.0, 14.0, ""), (-9.0, 14.0, "end"), (0.0, -12.0, "middle"),
              (0.0, 22.0, "middle"), (0.0, -26.0, "middle"), (0.0, 36.0, "middle")]  # fmt: skip
    best = min(places, key=hidden)
    taken.append(box(*best))
    axes.text(x + best[0], y + best[1], words, f"{best[2]} label")


def _floats(points: Points) -> np.ndarray:
    return np.array([math.nan if p[1] is None else p[1] for p in points], dtype=float)


def moving_mean(y: np.ndarray) -> np.ndarray:
    """Centred mean over about a tenth of the updates; a missing one is left out of its neighbours' means."""
    if not len(y):  # a step whose criterion was met at its start has no update
        return y
    half = max(len(y) // 20, 1)
    kernel = np.ones(min(2 * half + 1, 2 * len(y) - 1))
    there = np.isfinite(y)
    total = np.convolve(np.where(there, y, 0.0), kernel, "full")
    number = np.convolve(there.astype(float), kernel, "full")
    middle = slice(len(kernel) // 2, len(kernel) // 2 + len(y))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(there, total[middle] / number[middle], np.nan)
