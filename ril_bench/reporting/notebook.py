"""A run in a notebook: an HTML table that brings its own colours, and a matplotlib figure."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure

from ril_bench.errors import UserError
from ril_bench.reporting import text
from ril_bench.reporting.collapse import reasons
from ril_bench.reporting.heat import Heatmap, Shade
from ril_bench.reporting.matrices import heatmaps
from ril_bench.reporting.plots import moving_mean
from ril_bench.reporting.trends import reward_points, reward_unit
from ril_bench.storage.read import StoredRun, common_scale

# The hues of the site's heat tables, light enough for black and for white numbers.
_HUES = {"up": "148, 136, 186", "down": "230, 155, 67"}
_COLOURS = ("#5e3c99", "#d9680d", "#2a8c82", "#6b6e78", "#b03a78", "#8a6d1d")
_UNITS = {
    "normalised": "0 is the pretrained model, 1 is a model tuned on that reward alone",
    "z": "in standard deviations of the pretrained model's scores over prompts",
}


def run_html(run: StoredRun, summary: Mapping[str, float]) -> str:
    """A run as HTML: a line that names it, its matrix with shaded cells, and its main metrics.

    Args:
        summary: {metric: value}; a value that is not finite is shown as a dash.
    """
    name = f"{run.sequence}, {run.name}, {run.tuner}, order {run.order}, seed {run.seed}: {run.status}"
    pieces = [Markup("<div><strong>{}</strong></div>").format(name)]
    scale = common_scale([run])
    figures = [figure for _, figure in heatmaps([run])[0].maps if figure] if scale else []
    if figures and scale:
        pieces += [_heat_table(figures[0]), Markup("<div><small>{}</small></div>").format(_UNITS[scale])]
        values = (f"{name} {text.short(value)}" for name, value in summary.items())
        pieces.append(Markup("<div>{}</div>").format(" \N{MIDDLE DOT} ".join(values)))
    pieces += [Markup("<div>{}</div>").format(sentence) for sentence in reasons(run)]
    return str(Markup("").join(pieces))


def _heat_table(heat: Heatmap) -> Markup:
    """The matrix; the cell of the reward that its step trained is framed."""
    head = Markup("").join(Markup("<th>{}</th>").format(name) for name in ["step", *heat.columns])
    rows = (
        Markup("<tr><th style='text-align: left'>{} {}</th>{}</tr>").format(
            step, name, Markup("").join(map(_cell, cells))
        )
        for step, name, cells in heat.rows
    )
    return Markup("<table><thead><tr>{}</tr></thead><tbody>{}</tbody></table>").format(
        head, Markup("").join(rows)
    )


def _cell(shade: Shade) -> Markup:
    colour = f"rgba({_HUES[shade.hue]}, {shade.strength})" if shade.hue in _HUES else "transparent"
    frame = "; outline: 2px solid currentColor; outline-offset: -2px" if shade.trained else ""
    return Markup("<td style='text-align: right; background: {}{}'>{}</td>").format(
        colour, frame, shade.value
    )


def run_figure(run: StoredRun) -> Figure:
    """Each reward over the steps: normalised if the run is calibrated, else in z, else raw, one panel a reward.

    A ring marks the step that trains the reward: what follows it shows how much is forgotten. Raises UserError where no
    step is complete.
    """
    scale = common_scale([run])
    if not scale and not run.matrix:
        raise UserError("no step is complete, so there is nothing to plot yet", where=str(run.folder))
    values = np.array(run.continual(scale, "N") if scale else run.matrix, dtype=float)
    rewards = run.rewards if scale else run.columns
    figure = Figure(figsize=(5.2, 3.2) if scale else (5.2, 1.8 * max(len(rewards), 1)), layout="constrained")
    panels = figure.subplots(1 if scale else len(rewards), 1, sharex=True, squeeze=False)[:, 0]
    for j, name in enumerate(rewards):
        axes, colour = panels[0 if scale else j], _COLOURS[j % len(_COLOURS)]
        axes.plot(range(len(values)), values[:, j], marker=".", color=colour, label=name)
        if name in run.rewards and (step := run.rewards.index(name) + 1) < len(values):
            axes.plot(step, values[step, j], marker="o", markersize=9, markerfacecolor="none", color=colour)
        if not scale:
            axes.set_ylabel(name)
    panels[-1].set_xticks(range(len(values)), [run.step_name(step) for step in run.steps[: len(values)]])
    if scale:
        panels[0].axhline(0, color="0.6", linewidth=0.8)
        panels[0].set_ylabel("reward, normalised" if scale == "normalised" else "reward, in z")
        panels[0].legend(frameon=False)
    panels[0].set_title(f"{run.name} on {run.sequence}, seed {run.seed}", fontsize="medium")
    return figure


def training_figure(run: StoredRun) -> Figure:
    """The reward of each update's batch, one panel a task; up is better. Raises UserError where no update is logged."""
    tasks = [(i, reward, reward_points(run, i)) for i, reward in enumerate(run.rewards, 1)]
    logged = [task for task in tasks if task[2]]
    if not logged:
        raise UserError("no update is logged, so there is nothing to plot yet", where=str(run.folder))
    figure = Figure(figsize=(3.2 * len(logged), 2.4), layout="constrained")
    panels = figure.subplots(1, len(logged), squeeze=False)[0]
    for axes, (i, reward, points) in zip(panels, logged, strict=True):
        updates, scores = zip(*points, strict=True)
        values = np.array(scores, dtype=float)
        axes.plot(updates, values, color=_COLOURS[(i - 1) % len(_COLOURS)], linewidth=0.8, alpha=0.45)
        axes.plot(updates, moving_mean(values), color=_COLOURS[(i - 1) % len(_COLOURS)])
        axes.set(xlabel="update", ylabel=reward_unit(run, reward))
        axes.set_title(f"Task {i}: {reward}", fontsize="medium")
    return figure
