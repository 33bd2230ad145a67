"""The page of one run, and the page that sets a few runs side by side."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from ril_bench.errors import UserError
from ril_bench.pages import plots, text
from ril_bench.pages.files import Run, common_scale, dig, number, read_run
from ril_bench.pages.film import film_strip
from ril_bench.store import write_files

Grid = list[list[float | None]]


def write_page(run_folder: Path) -> Path:
    """Write <run_folder>/report.html from the files of the folder, and return its path.

    Only run.json has to exist: a run that failed, has one task or no calibration has a page too. The same
    files give the same bytes. UserError where a file cannot be read.
    """
    run = read_run(run_folder)
    scale = common_scale([run])
    html = (
        _environment()
        .get_template("run.html")
        .render(
            run=run,
            # Keys that a run cut short did not come to write are None; a misspelt variable is still an error.
            info=defaultdict(lambda: None, run.info),
            metrics=defaultdict(lambda: None, run.metrics),
            headline=headline(run, scale),
            scale=scale,
            strip=film_strip([run]),
            heatmaps=heatmaps([run]),
            matrix=matrix_table(run),
            curves=reward_curves([run]),
            trends=trends([run]),
            spec=json.dumps(run.info.get("sequence"), indent=2, ensure_ascii=False),
        )
    )
    return _write(run.folder / "report.html", html)


def write_demo_page(run_folders: list[Path], out: Path) -> Path:
    """Write the page `out` that compares a few runs of one sequence, in the order given, and return its path.

    It links to each run's own report.html. UserError where the runs were not asked the same: other tasks, or
    other evaluation prompts.
    """
    runs = [read_run(folder) for folder in run_folders]
    if not runs:
        raise UserError("no run to compare", mend="give at least one run folder")
    for run in runs[1:]:
        for what, here, there in (
            ("tasks", run.rewards, runs[0].rewards),
            ("evaluation prompts", run.prompts, runs[0].prompts),
        ):
            if here != there:
                raise UserError(
                    f"runs of different {what} cannot be set side by side",
                    where=f"{run.folder} and {runs[0].folder}",
                    mend="compare runs of one sequence and one order",
                )
    names = run_names(runs)
    out = Path(out)
    html = (
        _environment()
        .get_template("demo.html")
        .render(
            runs=runs,
            names=names,
            links=[_link(run.folder / "report.html", out.parent) for run in runs],
            headlines=[headline(run, common_scale(runs)) for run in runs],
            strip=film_strip(runs, names),
            heatmaps=heatmaps(runs, names),
            curves=reward_curves(runs, names),
            trends=trends(runs, names),
        )
    )
    return _write(out, html)


def _link(path: Path, start: Path) -> str:
    """A relative link; "./" and quoting keep a folder's name from being a scheme, a query or an anchor."""
    return "./" + quote(Path(os.path.relpath(path, start)).as_posix())


def run_names(runs: Sequence[Run]) -> list[str]:
    """What tells the runs apart: the method, and where that is not enough the tuner and the seed too."""
    names = [run.name for run in runs]
    if len(set(names)) < len(names):
        names = [
            f"{run.name} · {dig(run.info, 'tuner', 'name')} · seed {run.info.get('seed')}" for run in runs
        ]
    if len(set(names)) < len(names):
        names = [f"{i}: {name}" for i, name in enumerate(names, 1)]
    return names


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
    fid_step, fid = _last(run.per_step("fidelity", "fid"))
    fid_notes = [f"floor {text.short(dig(run.metrics, 'fidelity', 'floor'))}"]
    if dig(run.metrics, "fidelity", "biased"):
        fid_notes.append("biased")
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
            f"step {ssim_step}" if ssim_step is not None else "",
            "How much of the pretrained pictures' structure is left, same prompts and latents: 1 is all.",
        ),
        Figure(
            "FID to step 0",
            text.short(fid),
            ", ".join([f"step {fid_step}", *fid_notes] if fid_step is not None else fid_notes),
            "How far the pictures as a whole moved from the pretrained model's; two sets of the pretrained "
            "model's own pictures lie the floor apart.",
        ),
    ]


def _last(points: Sequence[tuple[int, float | None]]) -> tuple[int | None, float | None]:
    return points[-1] if points else (None, None)


@dataclass(frozen=True)
class Heatmaps:
    title: str
    meaning: str
    figures: list[tuple[str, Markup | None]]  # (run, figure)


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
        largest = max((abs(v) for grid in grids for row in grid for v in row if v is not None), default=0.0)
        # Calibrated values have a scale of their own; one reward that ran away shall not bleach the others.
        limit = min(max(largest, 1.0), 2.0) if scale != "z" else max(largest, 1.0)
        figures = []
        for k, (run, grid) in enumerate(zip(runs, grids, strict=True)):
            name = names[k] if names else run.name
            rows = ["pretrained", *run.rewards][first:]
            figure = None
            if grid and grid[0]:
                figure = plots.heatmap(
                    f"heatmap-{key}-{k}",
                    grid,
                    rows[: len(grid)],
                    run.rewards,
                    limit=limit,
                    first_step=first,
                    ends=ends,
                    label=f"Heatmap of {name}: {title}. {_spoken(grid, rows, run.rewards, first)}",
                )
            figures.append((name, figure))
        groups.append(Heatmaps(title, meaning, figures))
    return groups


def _grid(values: Any) -> Grid:
    return [[number(value) for value in row] for row in values or []]


def _spoken(grid: Grid, rows: Sequence[str], columns: Sequence[str], first_step: int) -> str:
    """A heatmap in words, for those who hear it."""
    lines = []
    for step, (row, values) in enumerate(zip(rows, grid, strict=False), first_step):
        cells = ", ".join(f"{column} {text.fixed(v)}" for column, v in zip(columns, values, strict=False))
        lines.append(f"Step {step}, {row}: {cells}")
    return "; ".join(lines) + "."


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
        figure = plots.curves(f"curve-{i}", lines, unit=unit, label=label)
        panels.append(Panel(f"Task {i}: {reward}", figure))
    return Panels(panels, list(names) if len(runs) > 1 else [])


def trends(runs: Sequence[Run], names: Sequence[str] | None = None) -> Panels:
    """FID and structure over steps."""
    names = names or [run.name for run in runs]
    plotted = [
        ("FID to step 0", "fidelity", "fid", None),
        ("SSIM to step 0", "structure", "ssim_to_0", 1.0),
        ("Feature cosine to step 0", "structure", "cosine_to_0", 1.0),
    ]
    panels = []
    for title, group, key, top in plotted:
        lines = {name: run.per_step(group, key) for name, run in zip(names, runs, strict=True)}
        if not any(value is not None for points in lines.values() for _, value in points):
            continue
        floors = {number(dig(run.metrics, "fidelity", "floor")) for run in runs} if key == "fid" else {None}
        spoken = [
            f"{name} " + ", ".join(f"step {s} {text.short(v)}" for s, v in points)
            for name, points in lines.items()
        ]
        figure = plots.steps_plot(
            f"trend-{key}",
            lines,
            top=top,
            floor=floors.pop() if len(floors) == 1 else None,
            label=f"Line plot of {title} over steps: {'; '.join(spoken)}.",
        )
        panels.append(Panel(title, figure))
    return Panels(panels, list(names) if len(runs) > 1 else [])


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for function in (text.fixed, text.short, text.count, text.seconds, text.size, text.ratio):
        environment.filters[function.__name__] = function
    environment.globals.update(dig=dig, MISSING=text.MISSING, per_step_table=per_step_table)
    return environment


def per_step_table(run: Run) -> list[tuple[int, str, list[str]]]:
    """Fidelity and structure as numbers: (step, its name, cells)."""
    keys = [("fidelity", "fid"), ("structure", "ssim_to_0"), ("structure", "ssim_to_previous"),
            ("structure", "cosine_to_0"), ("structure", "cosine_to_previous")]  # fmt: skip
    columns: list[Mapping[int, float | None]] = [dict(run.per_step(*key)) for key in keys]
    steps = sorted({step for column in columns for step in column})
    places = [text.decimals(columns[0].values()), 3, 3, 3, 3]
    return [
        (
            step,
            run.step_name(step),
            [text.fixed(c.get(step), p) for c, p in zip(columns, places, strict=True)],
        )
        for step in steps
    ]


def _write(path: Path, html: str) -> Path:
    # A name out of JSON can hold half a surrogate pair, which no file can.
    write_files({path: html.encode("utf-8", "replace")})
    return path
