"""The training of a step before its first update: its tasks, tuner, optimizer, budget and criteria."""

from __future__ import annotations

from collections.abc import Mapping

from ril_bench.methods import Method
from ril_bench.running.criterion import Criterion, Goal
from ril_bench.running.materials import Materials
from ril_bench.running.reward_task import RewardTask
from ril_bench.running.step_plan import step_budget, step_plan
from ril_bench.running.training import Training
from ril_bench.running.units import Units
from ril_bench.sequences.spec import Sequence


def new_training(
    i: int, materials: Materials, method: Method, units: Units, *, seed: int, micro_batch: int
) -> Training:
    """The training of step i, on the model's current adapters; calls the tuner's `start_task`.

    Args:
        method: has started the task, or restored its state.
        micro_batch: samples at once; 0 for the size in the budget.
    """
    sequence = materials.sequence
    plan, spec, tuner = step_plan(method, sequence, i), sequence.task(i), materials.tuner(i)
    tasks = {j: units.task(j, step=i, seed=seed) for j in sorted({*plan.weights, i})}
    tuner.start_task(tasks[i], materials.model)
    updates, bounds = step_budget(plan, sequence, i)
    return Training(
        model=materials.model,
        method=method,
        tuner=tuner,
        spec=spec,
        tasks=tasks,
        weights=dict(plan.weights),  # the method may go on to change its own
        updates=updates,
        step=i,
        seed=seed,
        micro_batch=micro_batch,
        bounds=bounds,
        criterion=_criterion(sequence, {j: tasks[j] for j in plan.weights}, units),
    )


def _criterion(sequence: Sequence, tasks: Mapping[int, RewardTask], units: Units) -> Criterion | None:
    """The criteria of the tasks that a step trains; None where no task has one."""
    goals = {
        j: Goal(task, until, units.scores[task.name], units.deviation(j))
        for j, task in tasks.items()
        if (until := sequence.task(j).budget.until)
    }
    return Criterion(goals, every_task=goals.keys() == tasks.keys()) if goals else None
