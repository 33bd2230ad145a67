"""Forecasts the cost of a grid: denoiser evaluations, and time by runs that are complete."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ril_bench.running.evaluation import drift_rollouts
from ril_bench.running.materials import tuner_of
from ril_bench.running.plan import RunPlan
from ril_bench.running.shared_steps import common_steps
from ril_bench.running.step_cost import evaluated_images, guided_calls, training_cost
from ril_bench.running.step_plan import step_plan
from ril_bench.storage.names import RUN
from ril_bench.storage.read import StoredRun
from ril_bench.studies.grid.workers import Cell


@dataclass(frozen=True)
class Forecast:
    """The cost of the cells that are left.

    Attributes:
        evaluations: denoiser evaluations of the tuners' updates, of criteria and of evaluations, without those that
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
    """Denoiser evaluations of the steps from `first` on, without those that the method adds.

    A guided evaluation counts as two. With the method naive a run takes at most these: a criterion may end a task
    early. Where a tuner draws how many calls an update takes (refl, drtune, adjoint_matching), the mean is counted:
    with default options, 20 updates take at most a tenth more (three standard deviations). Where `reuse` does not
    divide the updates, the last rollouts of a task serve fewer of them, and take more than is counted.

    Raises UserError for a tuner that cannot be built, or does not fit the sampler.
    """
    sequence, method = plan.sequence, plan.build_method()
    evaluations = 0.0
    for i in range(first, len(sequence.tasks) + 1):
        tuner = tuner_of(sequence.task(i))
        updates, trained = training_cost(tuner, step_plan(method, sequence, i), sequence, i)
        rollouts = evaluated_images(sequence, updates) + drift_rollouts(sequence, i)
        evaluations += trained.evaluations + rollouts * sequence.sampler.steps * guided_calls(sequence)
    return round(evaluations)


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
