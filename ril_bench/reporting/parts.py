"""What the page of one run and the page of several show: headline figures, heatmaps, tables, plots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from ril_bench.reporting import plots, text
from ril_bench.reporting.heat import Grid, Heatmap, heatmap
from ril_bench.storage.read import Run, common_scale, dig, number


@dataclass(frozen=True)
class Figure:
    """A headline figure: `note` is its floor or a caution, printed beside it wherever it is shown."""

    name: str
    value: str
    note: str
    meaning: str


def headline(run: Run, scale: str | None) -> list[Figure]:
    """The six figures a reader looks at first, each with one plain sentence of what it means."""
    if scale == "z":
        unit = "in standard deviations of the pretrained model's scores over prompts"
        final = f"Where the last model stands, averaged over the rewards, {unit}: 0 is the pretrained model."
    else:
        final = (
            "Where the last model stands, averaged over the rewards: 0 is the pretrained model, 1 is a model "
            "tuned on that reward alone."
        )
    ssim_step, ssim = _last(run.per_step("structure", "ssim_to_0"))
    ssim_notes = [f"step {ssim_step}"] if ssim_step is not None else []
    if floor := _floor_note(run, "structure", "floor", "ssim"):
        ssim_notes.append(floor)
    return [
        Figure("FINAL", text.fixed(run.continual(scale, "FINAL")), "", final),
        Figure(
            "LEARN",
            text.fixed(run.continual(scale, "LEARN")),
            "",
            "How far each task raised its own reward while it was being trained.",
        ),
        Figure(
            "BWT",
            text.fixed(run.continual(scale, "BWT")),
            "",
            "What later tasks did to rewards already learned: below 0 they were forgotten, above 0 helped.",
        ),
        Figure(
            "FORGET",
            text.fixed(run.continual(scale, "FORGET")),
            f"floor {text.fixed(run.continual(scale, 'FORGET_floor'))}",
            "How far rewards fell from the best they reached since learned; noise alone, with nothing "
            "forgotten, reads as the floor.",
        ),
        Figure(
            "SSIM to step 0",
            text.fixed(ssim),
            ", ".join(ssim_notes),
            "How much of the pretrained images' structure is left, same prompts and latents: 1 is all"
            + (", the floor two unrelated images of one prompt." if len(ssim_notes) > 1 else "."),
        ),
        _fidelity(run),
    ]


def _fidelity(run: Run) -> Figure:
    """FID, or KID where there are too few images for FID to be read by itself."""
    biased = bool(dig(run.metrics, "fidelity", "biased"))
    kid_leads = biased and _last(run.per_step("fidelity", "kid"))[1] is not None
    name, key, floor = ("KID", "kid", "kid_floor") if kid_leads else ("FID", "fid", "floor")
    step, value = _last(run.per_step("fidelity", key))
    notes = [f"step {step}"] if step is not None else []
    notes.append(f"floor {text.short(dig(run.metrics, 'fidelity', floor))}")
    if kid_leads:
        notes.append(f"FID {text.short(_last(run.per_step('fidelity', 'fid'))[1])}, biased")
    elif biased:
        notes.append("biased")
    meaning = (
        "How far the images as a whole moved from the pretrained model's; two sets of the pretrained "
        "model's own images lie the floor apart."
    )
    return Figure(f"{name} to step 0", text.short(value), ", ".join(notes), meaning)


def _last(points: Sequence[tuple[int, float | None]]) -> tuple[int | None, float | None]:
    return points[-1] if points else (None, None)


@dataclass(frozen=True)
class Heatmaps:
    title: str
    meaning: str
    figures: list[tuple[str, Heatmap | None]]  # (run, figure)


def heatmaps(runs: Sequence[Run], names: Sequence[str] | None = None) -> list[Heatmaps]:
    """Where each reward stands after each task, and what each task did to it; all runs share a scale."""
    scale = common_scale(runs)
    if scale != "z":
        title, unit = "Rewards, normalised", "0 is the pretrained model, 1 a model tuned on that reward alone"
    else:
        title, unit = (
            "Rewards, in SD",
            "0 is the pretrained model, 1 one standard deviation of its scores over prompts",
        )
    rise = f"Read down a column to see a reward rise when trained and fade afterwards: {unit}."
    effect = (
        "What training the row's task did to the column's reward, on the same scale: off the frame, orange "
        "is harm and purple is help."
    )
    kinds = [
        ("N", title, rise, 0, ("worse", "better")),
        ("effect", "Effect of each task", effect, 1, ("harm", "help")),
    ]
    groups = []
    for key, title, meaning, first, ends in kinds:
        grids = [_grid(run.continual(scale, key)) for run in runs]
        limit = shade_limit(grids, scale)
        figures = []
        for name, run, grid in zip(names or [run.name for run in runs], runs, grids, strict=True):
            rows = ["pretrained", *run.rewards][first:]
            figure = None
            if grid and grid[0]:
                figure = heatmap(
                    f"{title}: {name}",
                    grid,
                    rows[: len(grid)],
                    run.rewards,
                    limit=limit,
                    first_step=first,
                    ends=ends,
                )
            figures.append((name, figure))
        groups.append(Heatmaps(title, meaning, figures))
    return groups


def shade_limit(grids: Sequence[Grid], scale: str | None) -> float:
    """What the strongest shade stands for.

    Calibrated values have a scale of their own; one reward that ran away shall not bleach the others.
    """
    largest = max((abs(v) for grid in grids for row in grid for v in row if v is not None), default=0.0)
    return min(max(largest, 1.0), 2.0) if scale != "z" else max(largest, 1.0)


def _grid(values: Any) -> Grid:
    return [[number(value) for value in row] for row in values or []]


@dataclass(frozen=True)
class Cell:
    mean: str
    error: str
    trained: bool


@dataclass(frozen=True)
class MatrixTable:
    columns: list[tuple[str, str, str, bool]]  # name, unit, "higher" or "lower" is better, is a probe
    rows: list[tuple[int, str, list[Cell]]]
    retain: list[str]  # what is left of each reward's gain; empty where no run got that far


def matrix_table(run: Run) -> MatrixTable | None:
    """The reward matrix with standard errors over prompts, each column at a precision of its own."""
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
            cells.append(Cell(text.fixed(value, places[j]), shown, step == j + 1 and j < len(run.rewards)))
        rows.append((step, run.step_name(step), cells))
    retain = []
    if known := run.metrics.get("retain"):
        excluded = run.metrics.get("retain_excluded") or []
        retain = ["no gain" if c in excluded else text.fixed(known.get(c)) for c in run.columns]
        retain = [r if j < len(run.rewards) else "" for j, r in enumerate(retain)]
    return MatrixTable(columns, rows, retain)


@dataclass(frozen=True)
class Panel:
    title: str
    figure: Markup


@dataclass(frozen=True)
class Panels:
    panels: list[Panel]
    legend: list[str]  # what series 0, 1, ... are; empty for one


def reward_curves(runs: Sequence[Run], names: Sequence[str] | None = None) -> Panels:
    """Reward over updates, one panel a task."""
    names = names or [run.name for run in runs]
    metrics = runs[0].metrics
    panels = []
    for i, reward in enumerate(runs[0].rewards, 1):
        lines = {
            name: [
                (line["update"] + 1, number(line.get("score"))) for line in run.log if line.get("task") == i
            ]
            for name, run in zip(names, runs, strict=True)
        }
        if not any(lines.values()):
            continue
        spoken = [f"{name} from {text.short(p[0][1])} to {text.short(p[-1][1])} in {len(p)} updates"
                  for name, p in lines.items() if p]  # fmt: skip
        label = f"Line plot of task {i}, {reward}, over updates: {'; '.join(spoken)}."
        unit = str(dig(metrics, "units", reward) or "reward")
        if dig(metrics, "directions", reward) == -1:
            unit = text.MINUS + unit
        figure = plots.curves(lines, unit=unit, label=label)
        panels.append(Panel(f"Task {i}: {reward}", figure))
    return Panels(panels, list(names) if len(runs) > 1 else [])


def trends(runs: Sequence[Run], names: Sequence[str] | None = None) -> Panels:
    """Fidelity, structure and diversity over steps, with their floors; KID before FID where FID is biased."""
    names = names or [run.name for run in runs]
    fid = ("FID to step 0", "fidelity", "fid", None, ("floor",))
    kid = ("KID to step 0", "fidelity", "kid", None, ("kid_floor",))
    biased = any(dig(run.metrics, "fidelity", "biased") for run in runs)
    plotted = [
        *((kid, fid) if biased else (fid, kid)),
        ("SSIM to step 0", "structure", "ssim_to_0", 1.0, ("floor", "ssim")),
        ("LPIPS to step 0", "structure", "lpips_to_0", None, ("floor", "lpips")),
        ("Feature cosine to step 0", "structure", "cosine_to_0", 1.0, ("floor", "cosine")),
        ("Vendi score", "diversity", "vendi", None, ("floor",)),
    ]
    panels = []
    for title, group, key, top, floor in plotted:
        lines = {name: run.per_step(group, key) for name, run in zip(names, runs, strict=True)}
        if not any(value is not None for points in lines.values() for _, value in points):
            continue
        floors = {number(dig(run.metrics, group, *floor)) for run in runs}
        spoken = [
            f"{name} " + ", ".join(f"step {s} {text.short(v)}" for s, v in points)
            for name, points in lines.items()
        ]
        figure = plots.steps_plot(
            lines,
            top=top,
            floor=floors.pop() if len(floors) == 1 else None,
            label=f"Line plot of {title} over steps: {'; '.join(spoken)}.",
        )
        panels.append(Panel(title, figure))
    return Panels(panels, list(names) if len(runs) > 1 else [])


@dataclass(frozen=True)
class StepTable:
    columns: list[tuple[str, str]]  # name, what it is measured against
    rows: list[tuple[int, str, list[str]]]


def per_step_table(run: Run) -> StepTable:
    """Fidelity, structure and diversity as numbers; figures that no step has take no column."""
    kinds = {
        "SSIM": "ssim",
        "MS-SSIM": "ms_ssim",
        "LPIPS": "lpips",
        "Edges": "edges",
        "Feature cosine": "cosine",
    }
    biased = ", biased" if dig(run.metrics, "fidelity", "biased") else ""
    known = [
        ("FID", _floor_note(run, "fidelity", "floor") + biased, "fidelity", "fid"),
        ("KID", _floor_note(run, "fidelity", "kid_floor"), "fidelity", "kid"),
    ]
    for name, key in kinds.items():
        floor = _floor_note(run, "structure", "floor", key)
        known.append((name, f"to step 0, {floor}" if floor else "to step 0", "structure", f"{key}_to_0"))
        known.append((name, "to the step before", "structure", f"{key}_to_previous"))
    known += [("Vendi", "score", "diversity", "vendi"), ("Pairwise", "distance", "diversity", "pairwise")]
    columns, series = [], []
    for name, against, group, key in known:
        points: Mapping[int, float | None] = dict(run.per_step(group, key))
        if any(value is not None for value in points.values()):
            columns.append((name, against))
            series.append((points, text.decimals(points.values())))
    steps = sorted({step for points, _ in series for step in points})
    rows = [
        (step, run.step_name(step), [text.fixed(points.get(step), places) for points, places in series])
        for step in steps
    ]
    return StepTable(columns, rows)


def _floor_note(run: Run, *keys: str) -> str:
    floor = number(dig(run.metrics, *keys))
    return "" if floor is None else f"floor {text.short(floor)}"
