"""Reward matrices for the pages: shaded heat tables, and the table with standard errors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ril_bench.reporting import text
from ril_bench.reporting.collapse import step_label
from ril_bench.reporting.heat import Heatmap, Values, heatmap
from ril_bench.scoring.collapse import collapsed
from ril_bench.storage.read import StoredRun, common_scale
from ril_bench.storage.run_files import number


@dataclass(frozen=True)
class Heatmaps:
    """One kind of matrix for several runs; `maps` holds (run, heat table), None where a run has no such matrix."""

    title: str
    meaning: str
    maps: list[tuple[str, Heatmap | None]]


def heatmaps(runs: Sequence[StoredRun], names: Sequence[str] | None = None) -> list[Heatmaps]:
    """The reward matrix N, and the effect of each task on each reward. All runs share one colour scale."""
    scale = common_scale(runs)
    if scale != "z":
        title, unit = "Rewards, normalised", "0 is the pretrained model, 1 a model tuned on that reward alone"
    else:
        title = "Rewards, in SD"
        unit = "0 is the pretrained model, 1 is one standard deviation of its scores over prompts"
    rise = f"Read down a column: a reward rises when it is trained, and may fall afterwards. {unit}."
    effect = (
        "What training on the row's task did to the column's reward, on the same scale. Outside the frame, orange "
        "is harm and purple is help."
    )
    groups = []
    for key, heading, meaning, first, ends in (
        ("N", title, rise, 0, ("worse", "better")),
        ("effect", "Effect of each task", effect, 1, ("harm", "help")),
    ):
        values = [matrix_values(run.continual(scale, key)) for run in runs]
        limit = shade_limit(values, scale)
        maps = []
        for name, run, cells in zip(names or [run.name for run in runs], runs, values, strict=True):
            fallen, drawn = collapsed(run), None
            rows = [
                f"{step_name}{', collapsed' if step in fallen else ''}"
                for step, step_name in enumerate(["pretrained", *run.rewards])
            ][first:]
            if cells and cells[0]:
                drawn = heatmap(
                    f"{heading}: {name}",
                    cells,
                    rows[: len(cells)],
                    run.rewards,
                    limit=limit,
                    first_step=first,
                    ends=ends,
                )
            maps.append((name, drawn))
        groups.append(Heatmaps(heading, meaning, maps))
    return groups


def shade_limit(matrices: Sequence[Values], scale: str | None) -> float:
    """The value that the strongest shade stands for.

    Normalised values are capped at 2, so that one reward that ran away does not bleach the others.
    """
    largest = max((abs(v) for rows in matrices for row in rows for v in row if v is not None), default=0.0)
    return min(max(largest, 1.0), 2.0) if scale != "z" else max(largest, 1.0)


def matrix_values(values: Any) -> Values:
    """A matrix of metrics.json, with None for whatever is not a finite number."""
    return [[number(value) for value in row] for row in values or []]


@dataclass(frozen=True)
class MatrixCell:
    """A mean reward with its standard error; `trained`: the step of the row trained the reward of the column."""

    mean: str
    error: str
    trained: bool


@dataclass(frozen=True)
class MatrixTable:
    """The reward matrix as text.

    columns: (name, unit, which direction is better, whether it is a probe); rows: (step, name, cells); retain: the
    share of its gain that each reward kept, empty where the run is not complete.
    """

    columns: list[tuple[str, str, str, bool]]
    rows: list[tuple[int, str, list[MatrixCell]]]
    retain: list[str]


def matrix_table(run: StoredRun) -> MatrixTable | None:
    """The reward matrix with standard errors over prompts; each column has its own precision."""
    if not run.matrix:
        return None
    units, directions = run.metrics.get("units") or {}, run.metrics.get("directions") or {}
    columns = []
    for j, name in enumerate(run.columns):
        direction = number(directions.get(name))
        better = "" if direction is None else "higher is better" if direction > 0 else "lower is better"
        columns.append((name, str(units.get(name) or ""), better, j >= len(run.rewards)))
    places = [text.decimals(row[j] for row in run.matrix) for j in range(len(run.columns))]
    rows = []
    for step, values in zip(run.steps, run.matrix, strict=True):
        cells = []
        for j, value in enumerate(values):
            error = run.error.get((step, run.columns[j]))
            shown = f"± {text.fixed(error, places[j])}" if error is not None and value is not None else ""
            trained = step == j + 1 and j < len(run.rewards)
            cells.append(MatrixCell(text.fixed(value, places[j]), shown, trained))
        rows.append((step, step_label(run, step), cells))
    retain = []
    if known := run.metrics.get("retain"):
        excluded = run.metrics.get("retain_excluded") or []
        retain = ["no gain" if c in excluded else text.fixed(known.get(c)) for c in run.columns]
        retain = [share if j < len(run.rewards) else "" for j, share in enumerate(retain)]
    return MatrixTable(columns, rows, retain)
