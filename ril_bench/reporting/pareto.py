"""One figure against another, method by method: what a method gives up for what it gains."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

import pandas as pd

PLANES = (("SSIM to step 0", "FINAL"), ("LEARN", "FORGET"), ("denoiser evaluations", "FINAL"))


@dataclass(frozen=True)
class Point:
    """A method: means with intervals, or below five units every unit. `series` is its colour in all figures."""

    name: str
    series: int
    oracle: bool
    x: float
    x_low: float
    x_high: float
    y: float
    y_low: float
    y_high: float
    units: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Pareto:
    """A plane of two figures; `better` is +1 or -1, a floor is what noise alone would read."""

    sequence: str
    tuner: str
    x_name: str
    y_name: str
    x_better: int
    y_better: int
    x_floor: float | None
    y_floor: float | None
    points: Sequence[Point]

    @property
    def front(self) -> list[Point]:
        """The honest methods that no other honest method beats in both figures, along x.

        Only where every method has units enough to claim anything.
        """
        honest = [p for p in self.points if not p.oracle]
        if any(p.units for p in honest):
            return []
        return sorted((p for p in honest if not any(self._beats(q, p) for q in honest)), key=lambda p: p.x)

    @property
    def curves(self) -> list[list[Point]]:
        """The points whose labels differ in a last number alone ("rid@strength=1", "rid@strength=10"), in its order."""
        found: dict[str, list[tuple[float, Point]]] = defaultdict(list)
        for point in self.points:
            option, equals, value = point.name.rpartition("=")
            with suppress(ValueError):
                found[option if equals else ""].append((float(value), point))
        ordered = (sorted(points, key=lambda pair: pair[0]) for option, points in found.items() if option)
        return [[point for _, point in points] for points in ordered if len(points) > 1]

    def _beats(self, q: Point, p: Point) -> bool:
        gains = (self.x_better * (q.x - p.x), self.y_better * (q.y - p.y))
        return min(gains) >= 0 and max(gains) > 0


def planes(table: pd.DataFrame, better: dict[str, int], series: dict[str, int]) -> Iterator[Pareto]:
    """The planes of every sequence and tuner that `summary.table` has both figures for."""
    for (sequence, tuner), members in table.groupby(["sequence", "tuner"], sort=False):
        by_figure = {name: rows.set_index("method") for name, rows in members.groupby("figure", sort=False)}
        for x_name, y_name in PLANES:
            if x_name not in by_figure or y_name not in by_figure:
                continue
            xs, ys = by_figure[x_name], by_figure[y_name]
            points = []
            for name in xs.index:
                x, y = xs.loc[name], ys.loc[name]
                if not (math.isfinite(x["mean"]) and math.isfinite(y["mean"])):
                    continue
                points.append(
                    Point(
                        name=str(name), series=series[str(name)], oracle=bool(x["oracle"]),
                        x=float(x["mean"]), x_low=float(x["low"]), x_high=float(x["high"]),
                        y=float(y["mean"]), y_low=float(y["low"]), y_high=float(y["high"]),
                        units=list(zip(x["points"], y["points"], strict=True)),
                    )
                )  # fmt: skip
            points.sort(key=lambda point: (point.oracle, point.series))
            if points:
                yield Pareto(
                    str(sequence), str(tuner), x_name, y_name, better[x_name], better[y_name],
                    _floor(xs), _floor(ys), points,
                )  # fmt: skip


def _floor(rows: pd.DataFrame) -> float | None:
    floor = float(rows["floor"].mean())
    return floor if math.isfinite(floor) else None
