"""A pair of axes as inline SVG: what the pages' plots need and no more.

Lengths are CSS pixels. Colours are left to the style sheet: a shape has the classes `s0` ... `s5` of its series
or one of `grid`, `muted`, so that one figure reads well in a light and in a dark page.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from markupsafe import Markup

from ril_bench.reporting.text import MINUS

SERIES = 6  # colours, markers and dashes; the seventh series begins again
Span = tuple[float, float]


class Axes:
    """Maps data to pixels and collects shapes; `svg` gives the element.

    Args:
        x, y: the data's ends on each axis.
        size: width and height of the whole figure.
        margin: left, right, top, bottom of the axes inside it.
    """

    def __init__(
        self, x: Span, y: Span, *, size: Span = (340, 210), margin: tuple[int, ...] = (52, 12, 10, 36)
    ):
        self.size = size
        left, right, top, bottom = margin
        self.box = (left, top, size[0] - right, size[1] - bottom)
        self.x, self.y = x, y
        self._parts: list[Markup] = []

    def at(self, x: float, y: float) -> Span:
        """The pixel of a point."""
        left, top, right, bottom = self.box
        return (
            left + (right - left) * (x - self.x[0]) / (self.x[1] - self.x[0]),
            bottom - (bottom - top) * (y - self.y[0]) / (self.y[1] - self.y[0]),
        )

    def frame(self, x_ticks: Sequence[float], y_ticks: Sequence[float], x_label: str, y_label: str) -> None:
        """Horizontal grid lines, tick numbers, and the names of both axes."""
        left, top, right, bottom = self.box
        for value, label in zip(y_ticks, tick_labels(y_ticks), strict=True):
            y = self.at(0, value)[1]
            self.line([(left, y), (right, y)], "grid")
            self.text(left - 6, y + 3.5, label, "end muted")
        for value, label in zip(x_ticks, tick_labels(x_ticks), strict=True):
            x = self.at(value, 0)[0]
            self.line([(x, bottom), (x, bottom + 4)], "grid")
            self.text(x, bottom + 16, label, "middle muted")
        self.line([(left, bottom), (right, bottom)], "axis")
        self.text((left + right) / 2, self.size[1] - 3, x_label, "middle muted")
        if y_label:
            x, y = 11, (top + bottom) / 2
            turned = f' transform="rotate(-90 {x} {_n(y)})"'
            self.text(x, y, y_label, "middle muted", Markup(turned))

    def line(self, pixels: Sequence[Span], css: str) -> None:
        """A line through pixels."""
        if len(pixels) == 2:
            (x1, y1), (x2, y2) = pixels
            self._add('<line class="{}" x1="{}" y1="{}" x2="{}" y2="{}"/>', css, x1, y1, x2, y2)
        elif pixels:
            path = " ".join(f"{_n(x)},{_n(y)}" for x, y in pixels)
            self._add('<polyline class="{}" points="{}"/>', css, path)

    def curve(self, points: Iterable[tuple[float, float | None]], css: str) -> None:
        """A line through data points, broken where a value is missing."""
        parts: list[list[Span]] = [[]]
        for x, y in points:
            if y is None or math.isnan(y):
                parts.append([])
            else:
                parts[-1].append(self.at(x, y))
        for part in parts:
            if len(part) == 1:
                self.marker(*part[0], 0, css, radius=1.5)
            else:
                self.line(part, css)

    def marker(self, x: float, y: float, kind: int, css: str, radius: float = 4.0) -> None:
        """One of six shapes around a pixel."""
        self._parts.append(marker(x, y, kind, css, radius))

    def text(self, x: float, y: float, words: str, css: str = "", extra: Markup = Markup("")) -> None:  # noqa: B008
        """Words at a pixel; `css` may hold middle or end."""
        self._add('<text class="{}" x="{}" y="{}"{}>{}</text>', css, x, y, extra, clip(words))

    def svg(self, label: str) -> Markup:
        """The <svg> element with an alternative text; without one it only decorates a number beside it."""
        words = "".join(c for c in label if c.isprintable())
        role = Markup('role="img" aria-label="{}"').format(words) if words else Markup('aria-hidden="true"')
        head = Markup('<svg class="plot" {} width="{:g}" height="{:g}" viewBox="0 0 {:g} {:g}">')
        return head.format(role, *self.size, *self.size) + Markup("").join(self._parts) + Markup("</svg>")

    def _add(self, element: str, *values: object) -> None:
        shown = [_n(value) if isinstance(value, float | int) else value for value in values]
        self._parts.append(Markup(element).format(*shown))


def marker(x: float, y: float, kind: int, css: str, radius: float = 4.0) -> Markup:
    """A circle, square, diamond, triangle up or down, or plus: shapes of about one area, distinct in grey."""
    r, shape = radius, (kind + kind // SERIES) % SERIES  # a colour that comes again has another shape
    if shape == 0:
        return Markup('<circle class="{}" cx="{}" cy="{}" r="{}"/>').format(css, _n(x), _n(y), _n(r))
    corners = [
        [(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)],
        [(0, -1.3), (1.3, 0), (0, 1.3), (-1.3, 0)],
        [(0, -1.2), (1.15, 0.9), (-1.15, 0.9)],
        [(0, 1.2), (1.15, -0.9), (-1.15, -0.9)],
        [(-0.4, -1.2), (0.4, -1.2), (0.4, -0.4), (1.2, -0.4), (1.2, 0.4), (0.4, 0.4),
         (0.4, 1.2), (-0.4, 1.2), (-0.4, 0.4), (-1.2, 0.4), (-1.2, -0.4), (-0.4, -0.4)],
    ][shape - 1]  # fmt: skip
    points = " ".join(f"{_n(x + r * dx)},{_n(y + r * dy)}" for dx, dy in corners)
    return Markup('<polygon class="{}" points="{}"/>').format(css, points)


def ticks(low: float, high: float, most: int = 5, whole: bool = False) -> list[float]:
    """At most about `most` round numbers (1, 2 or 5 times a power of ten apart) between low and high."""
    span = high - low
    if not span > 0:
        return [low]
    step = 10.0 ** math.floor(math.log10(span / most))
    step *= next(m for m in (1, 2, 5, 10) if span / (step * m) <= most)
    if whole:
        step = max(1.0, step)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(k * step, 12) for k in range(first, last + 1)]


def spread(values: Iterable[float | None], pad: float = 0.06) -> Span:
    """The ends of an axis that holds every value with a little room; (0, 1) where there is none."""
    known = [v for v in values if v is not None and math.isfinite(v)]
    if not known:
        return 0.0, 1.0
    low, high = min(known), max(known)
    room = (high - low) * pad if high > low else abs(high) * 0.1 or 1.0
    return low - room, high + room


def tick_labels(values: Sequence[float]) -> list[str]:
    """Numbers with as many decimals as tell them apart; thousands as k."""
    if max(map(abs, values), default=0) >= 10_000:
        return [f"{label}k" if label != "0" else label for label in tick_labels([v / 1000 for v in values])]
    places = 0
    while places < 6 and any(abs(round(v, places) - v) > 1e-9 * max(abs(v), 1e-6) for v in values):
        places += 1
    return [f"{v:.{places}f}".replace("-", MINUS) if v else "0" for v in values]


def clip(words: object, length: int = 34) -> str:
    """One line, short enough for a label, without control characters."""
    line = "".join(c for c in " ".join(str(words).split()) if c.isprintable())
    return line if len(line) <= length else f"{line[: length - 1]}…"


def _n(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
