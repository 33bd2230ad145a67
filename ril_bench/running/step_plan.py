"""What the plan of a method means for a step of a sequence: its updates, its bounds, and whether it can run."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from ril_bench import registry
from ril_bench.errors import MethodError, UserError
from ril_bench.sequences.spec import Sequence

if TYPE_CHECKING:
    from ril_bench.methods import Method, Plan

#: what tasks that are trained in one update must have in common
COMMON = ("tuner", "optimizer", "batch")


def step_plan(method: Method, sequence: Sequence, i: int) -> Plan:
    """The plan of step i.

    Raises MethodError for a plan that does not fit the step, and UserError for tasks that cannot share an update.
    """
    # torch, which only a method needs
    from ril_bench.machine.calls import called
    from ril_bench.running.hook_results import checked_plan
    from ril_bench.running.hooks import author

    cls = type(author(method))
    found = called(method.plan, (sequence.order[:i], i), cls, "plan", partial(_blame, cls.__name__))
    plan = checked_plan(found, method, i)
    tuner = sequence.task(i).tuner
    if len(plan.weights) > 1 and "images" in registry.load("tuner", tuner.name)(**tuner.options).needs:
        raise UserError(
            f"{cls.__name__} trains several rewards in one step, and {tuner.name} learns from the images of one task",
            where=f"tasks.{i}.tuner",
            hint="choose a tuner that raises a reward, or another method",
        )
    for j in plan.weights:
        task, own = sequence.task(j), sequence.task(i)
        pairs = (
            (task.tuner, own.tuner),
            (task.optimizer, own.optimizer),
            (task.budget.batch, own.budget.batch),
        )
        if differ := [name for name, (a, b) in zip(COMMON, pairs, strict=True) if a != b]:
            raise UserError(
                f"{cls.__name__} raises {task.name} and {own.name} in the same update, and their "
                f"{' and '.join(differ)} differ",
                where=f"tasks.{j}, tasks.{i}",
                hint=f"give both tasks the same {', '.join(COMMON)}, or choose another method",
            )
    return plan


def _blame(name: str, what: str, *, where: str, hint: str) -> MethodError:
    return MethodError(f"the method {name} {what}", where=where, hint=hint)


def step_budget(plan: Plan, sequence: Sequence, i: int) -> tuple[int, dict[str, float]]:
    """The largest number of updates of step i, and its bounds on calls, by their names in run.json."""
    tasks = [sequence.task(j) for j in plan.weights]
    budgets = [task.budget for task in tasks] if plan.updates == "sum" else [sequence.task(i).budget]
    factor = plan.extension if all(task.budget.until for task in tasks) else 1.0
    bounds = {
        name: factor * sum(budget.bounds[name] for budget in budgets)
        for name in budgets[0].bounds
        if all(name in budget.bounds for budget in budgets)
    }
    return round(factor * sum(budget.updates for budget in budgets)), bounds
