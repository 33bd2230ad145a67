"""A plane of two metrics: where each method is, the front, and the marks that draw it, for every plotting engine."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from ril_bench.reporting import text
from ril_bench.reporting.glossary import better
from ril_bench.reporting.place import Place, by_place
from ril_bench.reporting.strengths import LEAST_VALUES, Strengths
from ril_bench.reporting.svg import Span, spread

PLANES = (
    ("LEARN", "FORGET"),
    ("drift", "FINAL"),
    ("updates spent", "FORGET"),
    ("SSIM to step 0", "FINAL"),
    ("denoiser evaluations", "FINAL"),
)


@dataclass(frozen=True)
class Point:
    """A method: its means with intervals or, below five seeds, every seed. `series` is its colour in all plots.

    apart: whether it is an oracle, or its entries only state a metric: it is hollow, and on no front.
    label: what is written beside it; its name, or only the value of the option along a curve.
    """

    name: str
    series: int
    apart: bool
    x: float
    x_low: float
    x_high: float
    y: float
    y_low: float
    y_high: float
    seeds: Sequence[tuple[float, float]]
    label: str = ""


@dataclass(frozen=True)
class Mark:
    """One line or marker of a plane, in the units of its metrics; `point` where it belongs to a method."""

    kind: Literal["floor", "front", "trace", "bar", "seed", "mean"]
    xy: Sequence[tuple[float, float]]
    point: Point | None = None


@dataclass(frozen=True)
class Plane:
    """Methods by two metrics. `x_better` is +1 or -1; a floor is the value that noise alone gives.

    curves: names of the points of one method under several values of an option, in the order of the values.
    """

    place: Place
    x_name: str
    y_name: str
    x_better: int
    y_better: int
    x_floor: float | None
    y_floor: float | None
    points: Sequence[Point]
    curves: Sequence[Sequence[str]] = ()

    @property
    def front(self) -> list[Point]:
        """The methods that no other one beats in both metrics, along x; those that stand apart are left out.

        Empty where some method has too few seeds for an interval.
        """
        allowed = [p for p in self.points if not p.apart]
        if any(p.seeds for p in allowed):
            return []
        return sorted((p for p in allowed if not any(self._beats(q, p) for q in allowed)), key=lambda p: p.x)

    @property
    def traces(self) -> list[list[Point]]:
        """The points of each method that ran at several values of one option, in the order of the values."""
        by_name = {point.name: point for point in self.points}
        found = ([by_name[name] for name in curve if name in by_name] for curve in self.curves)
        return [points for points in found if len(points) >= LEAST_VALUES]

    @property
    def ends(self) -> tuple[Span, Span]:
        """The ends of both axes: everything that is drawn, with a little room."""
        xs = [v for p in self.points for v in (p.x, p.x_low, p.x_high, *(x for x, _ in p.seeds))]
        ys = [v for p in self.points for v in (p.y, p.y_low, p.y_high, *(y for _, y in p.seeds))]
        return spread([*xs, self.x_floor], 0.09), spread([*ys, self.y_floor], 0.09)

    @property
    def labels(self) -> tuple[str, str]:
        """The names of both axes, each with the direction that is better."""
        arrows = {1: "→ better", -1: "← better"}
        return f"{self.x_name}  {arrows[self.x_better]}", f"{self.y_name}  {arrows[self.y_better]}"

    def marks(self) -> Iterator[Mark]:
        """What to draw, from back to front: floors, front, traces, then each method."""
        (left, right), (bottom, top) = self.ends
        if self.x_floor is not None:
            yield Mark("floor", [(self.x_floor, bottom), (self.x_floor, top)])
        if self.y_floor is not None:
            yield Mark("floor", [(left, self.y_floor), (right, self.y_floor)])
        if len(self.front) > 1:
            yield Mark("front", [(p.x, p.y) for p in self.front])
        for trace in self.traces:
            yield Mark("trace", [(p.x, p.y) for p in trace])
        for p in self.points:
            if p.seeds:
                yield from (Mark("seed", [seed], p) for seed in p.seeds)
            else:
                yield Mark("bar", [(p.x_low, p.y), (p.x_high, p.y)], p)
                yield Mark("bar", [(p.x, p.y_low), (p.x, p.y_high)], p)
                yield Mark("mean", [(p.x, p.y)], p)

    def in_words(self) -> str:
        """The plane as a sentence, for readers who do not see the plot."""
        names = [f"{p.name} {text.short(p.x)}, {text.short(p.y)}" for p in self.points]
        front = f" On the front: {', '.join(p.name for p in self.front)}." if len(self.front) > 1 else ""
        return f"Scatter plot of {self.x_name} and {self.y_name}: {'; '.join(names)}.{front}"

    def _beats(self, q: Point, p: Point) -> bool:
        gains = (self.x_better * (q.x - p.x), self.y_better * (q.y - p.y))
        return min(gains) >= 0 and max(gains) > 0


def planes(table: pd.DataFrame, series: dict[str, int], curves: Sequence[Strengths] = ()) -> Iterator[Plane]:
    """The planes of every place for which `summary.table` has both metrics.

    A plane of updates spent is left out where all methods spent the same.
    """
    for place, members in by_place(table):
        own = [curve for curve in curves if curve.place == place]
        labels = {name: f"{value:g}" for curve in own if curve.tuned for name, value in curve.members.items()}
        labels |= {curve.tuned: curve.tuned for curve in own if curve.tuned}
        by_metric = {name: rows.set_index("method") for name, rows in members.groupby("figure", sort=False)}
        for x_name, y_name in PLANES:
            if x_name not in by_metric or y_name not in by_metric:
                continue
            xs, ys = by_metric[x_name], by_metric[y_name]
            points = [
                _point(
                    str(name), labels.get(str(name), str(name)), series[str(name)], xs.loc[name], ys.loc[name]
                )
                for name in xs.index
                if math.isfinite(xs.loc[name, "mean"]) and math.isfinite(ys.loc[name, "mean"])
            ]
            points.sort(key=lambda point: (point.apart, point.series))
            if not points or (x_name == "updates spent" and len({point.x for point in points}) == 1):
                continue  # without a criterion all methods spend the same updates
            yield Plane(
                place,
                x_name,
                y_name,
                better(x_name),
                better(y_name),
                _floor(xs),
                _floor(ys),
                points,
                [list(curve.members) for curve in own],
            )


def _point(name: str, label: str, series: int, x: pd.Series, y: pd.Series) -> Point:
    return Point(
        name=name,
        label=label,
        series=series,
        apart=bool(x["oracle"]) or not (x["known"] and y["known"]),
        x=float(x["mean"]),
        x_low=float(x["low"]),
        x_high=float(x["high"]),
        y=float(y["mean"]),
        y_low=float(y["low"]),
        y_high=float(y["high"]),
        seeds=list(zip(x["points"], y["points"], strict=True)),
    )


def _floor(rows: pd.DataFrame) -> float | None:
    floor = float(rows["floor"].mean())
    return floor if math.isfinite(floor) else None
