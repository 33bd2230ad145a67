"""What changes over updates and steps, for the pages: reward curves, and the metrics of images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from ril_bench.reporting import plots, text
from ril_bench.reporting.collapse import step_label
from ril_bench.reporting.headline import floor_note
from ril_bench.storage.names import CONSOLIDATION
from ril_bench.storage.read import StoredRun, dig
from ril_bench.storage.run_files import number

Curve = list[tuple[float, float | None]]


@dataclass(frozen=True)
class Panel:
    """One plot with its title."""

    title: str
    plot: Markup


@dataclass(frozen=True)
class Panels:
    """Plots that share a legend: the names of series 0, 1, ...; empty where there is one series."""

    panels: list[Panel]
    legend: list[str]


def reward_points(run: StoredRun, task: int) -> Curve:
    """(update, mean reward of the batch) of each logged update of a task that has a reward."""
    lines = [line for line in run.log if line.get("task") == task and line.get("reward") != CONSOLIDATION]
    return [(line["update"] + 1, number(line.get("score"))) for line in lines]


def reward_unit(run: StoredRun, reward: str) -> str:
    """The unit of a logged reward. The log's sign makes up better, so a reward to lower has a minus."""
    unit = str(dig(run.metrics, "units", reward) or "reward")
    return text.MINUS + unit if dig(run.metrics, "directions", reward) == -1 else unit


def reward_curves(runs: Sequence[StoredRun], names: Sequence[str] | None = None) -> Panels:
    """Reward over updates, a panel for each task."""
    names = names or [run.name for run in runs]
    panels = []
    for i, reward in enumerate(runs[0].rewards, 1):
        lines = {name: reward_points(run, i) for name, run in zip(names, runs, strict=True)}
        if not any(lines.values()):
            continue
        ends = [
            f"{name} from {text.short(points[0][1])} to {text.short(points[-1][1])} in {len(points)} updates"
            for name, points in lines.items()
            if points
        ]
        label = f"Line plot of task {i}, {reward}, over updates: {'; '.join(ends)}."
        panels.append(
            Panel(f"Task {i}: {reward}", plots.curves(lines, unit=reward_unit(runs[0], reward), label=label))
        )
    return Panels(panels, list(names) if len(runs) > 1 else [])


def trends(runs: Sequence[StoredRun], names: Sequence[str] | None = None) -> Panels:
    """Fidelity, structure, diversity and drift over steps, with floors; KID before FID where FID is biased."""
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
        ("Drift from step 0, nats", "drift", "to_0", None, ("floor",)),
    ]
    panels = []
    for title, group, key, top, floor in plotted:
        lines = {name: run.per_step(group, key) for name, run in zip(names, runs, strict=True)}
        if not any(value is not None for points in lines.values() for _, value in points):
            continue
        floors = {number(dig(run.metrics, group, *floor)) for run in runs}
        values = [
            f"{name} " + ", ".join(f"step {s} {text.short(v)}" for s, v in points)
            for name, points in lines.items()
        ]
        plot = plots.steps_plot(
            lines,
            top=top,
            floor=floors.pop() if len(floors) == 1 else None,
            label=f"Line plot of {title} over steps: {'; '.join(values)}.",
        )
        panels.append(Panel(title, plot))
    return Panels(panels, list(names) if len(runs) > 1 else [])


def scale_plots(run: StoredRun) -> Panels:
    """Each reward over the scale of the adapter, a line for each step; empty where no scale was evaluated."""
    rows = dig(run.metrics, "scales") or []
    steps = sorted({row["step"] for row in rows})
    names = [step_label(run, step) for step in steps]
    panels = []
    for reward in dict.fromkeys(name for row in rows for name in row["rewards"]):
        lines: dict[str, Curve] = {
            name: [(row["scale"], number(row["rewards"].get(reward))) for row in rows if row["step"] == step]
            for step, name in zip(steps, names, strict=True)
        }
        values = (
            f"{name} " + ", ".join(f"scale {x:g} {text.short(y)}" for x, y in points)
            for name, points in lines.items()
        )
        label = f"Line plot of {reward} over the scale of the adapter: {'; '.join(values)}."
        plot = plots.steps_plot(lines, label=label, x_label="scale of the adapter", from_zero=False)
        panels.append(Panel(str(reward), plot))
    return Panels(panels, names)


@dataclass(frozen=True)
class StepTable:
    """Metrics of images as numbers; columns: (name, what it is measured against); rows: (step, name, values)."""

    columns: list[tuple[str, str]]
    rows: list[tuple[int, str, list[str]]]


def per_step_table(run: StoredRun) -> StepTable:
    """Fidelity, structure, diversity and drift of each step; a metric that no step has gets no column."""
    kinds = {
        "SSIM": "ssim",
        "MS-SSIM": "ms_ssim",
        "LPIPS": "lpips",
        "Edges": "edges",
        "Feature cosine": "cosine",
    }
    biased = ", biased" if dig(run.metrics, "fidelity", "biased") else ""
    known = [
        ("FID", floor_note(run, "fidelity", "floor") + biased, "fidelity", "fid"),
        ("KID", floor_note(run, "fidelity", "kid_floor"), "fidelity", "kid"),
    ]
    for name, key in kinds.items():
        floor = floor_note(run, "structure", "floor", key)
        known.append((name, f"to step 0, {floor}" if floor else "to step 0", "structure", f"{key}_to_0"))
        known.append((name, "to the step before", "structure", f"{key}_to_previous"))
    known += [("Vendi", "score", "diversity", "vendi"), ("Pairwise", "distance", "diversity", "pairwise")]
    known.append(("Drift", "nats, from step 0", "drift", "to_0"))
    known.append(("Drift", "nats, from the step before", "drift", "to_previous"))
    columns, series = [], []
    for name, against, group, key in known:
        points: Mapping[int, float | None] = dict(run.per_step(group, key))
        if any(value is not None for value in points.values()):
            columns.append((name, against))
            series.append((points, text.decimals(points.values())))
    steps = sorted({step for points, _ in series for step in points})
    rows = [
        (
            step,
            step_label(run, step),
            [text.fixed(points.get(step), places) for points, places in series],
        )
        for step in steps
    ]
    return StepTable(columns, rows)
