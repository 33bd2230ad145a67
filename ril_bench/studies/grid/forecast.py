"""Forecasts the cost of a grid: denoiser evaluations, and time by runs that are complete."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ril_bench.running.evaluation import drift_rollouts
from ril_bench.running.plan import RunPlan
from ril_bench.running.shared_steps import common_steps
from ril_bench.storage.names import RUN
from ril_bench.storage.read import StoredRun
from ril_bench.studies.grid.workers import Cell


@dataclass(frozen=True)
class Forecast:
    """The cost of the cells that are left.

    Attributes:
        evaluations: denoiser evaluations for the rollouts of tuners and for images, without those that
            methods add.
        seconds: seconds of a single process, by measured runs; None if a cell has no measured runs.
        measured: the number of measured runs.
    """

    evaluations: int
    seconds: float | None
    measured: int


def forecast(cells: Sequence[Cell], out: Path) -> Forecast:
    """The cost of cells; counts shared steps once."""
    evaluations, seconds, measured = 0, 0.0, 0
    done: list[RunPlan] = []
    for cell in cells:
        first = max((common_steps(cell.plan, other) for other in done), default=0) + 1
        own = evaluations_of(cell.plan, first)
        done.append(cell.plan)
        evaluations += own
        pace = seconds_per_evaluation(cell.plan, out)
        if pace:
            seconds, measured = seconds + own * pace[0], max(measured, pace[1])
        else:
            seconds = math.nan
    return Forecast(evaluations, None if math.isnan(seconds) or not cells else seconds, measured)


def evaluations_of(plan: RunPlan, first: int) -> int:
    """Denoiser evaluations of the steps from `first` on, at most: a task with a criterion may end early.

    A guided evaluation counts as two. An update counts as one rollout of its batch.
    """
    sequence = plan.sequence
    images = sequence.evaluation.prompts * sequence.evaluation.images_per_prompt
    per_image = sequence.sampler.steps * (1 if sequence.sampler.guidance == 1 else 2)
    evaluations = 0
    for i in range(first, len(sequence.tasks) + 1):
        (updates, bounds), every = plan.budget(i), sequence.evaluation.every
        rollout = sequence.task(i).budget.batch * per_image
        trained = min(updates * rollout, round(bounds.get("denoiser_forwards", updates * rollout)))
        within = (math.ceil(trained / rollout) - 1) // every if every else 0
        scales = len(sequence.evaluation.inner_scales)
        evaluated = (1 + within + scales) * images + drift_rollouts(sequence, i)
        evaluations += trained + evaluated * per_image
    return evaluations


def seconds_per_evaluation(plan: RunPlan, out: Path) -> tuple[float, int] | None:
    """The seconds of one evaluation in complete runs, and the number of these runs.

    Uses runs of the same sequence, model and tuner. None if there are none.
    """
    seconds, evaluations, found = 0.0, 0, 0
    for file in out.glob(f"{plan.sequence.name}/*/*/{plan.tuner}/seed-*/{RUN}"):
        run = StoredRun(file.parent).info
        if run["status"] == "complete" and run["sequence"]["model"] == plan.sequence.model:
            found += 1
            seconds += sum(step["train_seconds"] + step["evaluation_seconds"] for step in run["steps"])
            evaluations += sum(step["denoiser_forwards"] for step in run["steps"])
    return (seconds / evaluations, found) if evaluations else None
