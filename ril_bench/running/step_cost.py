"""What a step costs at most, before it is run: calls of its updates, of its criteria, and its evaluated images.

An update costs what its tuner states (`Tuner.update_cost`). What a method adds to an update is not counted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from ril_bench.methods import Plan
from ril_bench.running.criterion import most_checks
from ril_bench.running.step_plan import step_budget
from ril_bench.sequences.spec import Sequence
from ril_bench.tuners.base import Cost, Tuner
from ril_bench.tuners.own_rollouts import OwnRollouts

Bounds = Mapping[str, float]


def guided_calls(sequence: Sequence) -> int:
    """Denoiser evaluations of one prediction: 2 with guidance, 1 without."""
    return 1 if sequence.sampler.guidance == 1 else 2


def evaluated_images(sequence: Sequence, updates: int) -> int:
    """The images of a trained step's evaluations: between `updates` updates, after them, and at scales."""
    spec = sequence.evaluation
    between = (updates - 1) // spec.every if spec.every else 0
    return (between + 1 + len(spec.inner_scales)) * spec.prompts * spec.images_per_prompt


def training_cost(tuner: Tuner, plan: Plan, sequence: Sequence, i: int) -> tuple[int, Cost]:
    """The updates of step i and the cost of all of them, with the checks of its criteria and its consolidation.

    Both are at most these: a criterion may end a step early, and its checks may be rarer. Where a tuner draws how many
    calls an update takes, or learns from the same images in several updates, an update counts with its mean.

    Raises UserError if the tuner does not fit the sampler.
    """
    most, bounds = step_budget(plan, sequence, i)
    each, check = _update_cost(tuner, sequence, i), _check_cost(plan, sequence)
    updates = _until_a_bound(most, bounds, each)
    trained = updates * each + _checks(plan, sequence, i, updates) * check
    # A check counts as training. So the training ends after the update, and its check, that reach a bound.
    trained = _at_most(trained, bounds, each + check)
    if plan.consolidation:
        more, consolidated = _consolidation_cost(plan, sequence, i)
        return updates + more, trained + consolidated
    return updates, trained


def _update_cost(tuner: Tuner, sequence: Sequence, i: int) -> Cost:
    """The cost of an update of task i."""
    batch = sequence.task(i).budget.batch
    return batch * tuner.update_cost(sequence.sampler.steps, guided_calls(sequence))


def _consolidation_cost(plan: Plan, sequence: Sequence, i: int) -> tuple[int, Cost]:
    """The updates of a consolidation after step i, at most, and their cost."""
    phase, budget = plan.consolidation, sequence.task(i).budget
    assert phase is not None, "the step has a consolidation"
    each = _update_cost(OwnRollouts(calls=phase.calls), sequence, i)
    bounds = {name: phase.updates * bound for name, bound in budget.bounds.items()}
    updates = _until_a_bound(round(phase.updates * budget.updates), bounds, each)
    return updates, updates * each


def _check_cost(plan: Plan, sequence: Sequence) -> Cost:
    """The cost of a check of the criteria of a step's tasks; tasks with the same prompts score the same images."""
    images: dict[str, int] = {}
    goals = [
        (task.prompts.train, until)
        for task in map(sequence.task, plan.weights)
        if (until := task.budget.until)
    ]
    for prompts, until in goals:
        images[prompts] = max(until.images, images.get(prompts, 0))
    predictions = sequence.sampler.steps * sum(images.values())
    return Cost(guided_calls(sequence) * predictions, images=sum(images[prompts] for prompts, _ in goals))


def _checks(plan: Plan, sequence: Sequence, i: int, updates: int) -> int:
    """How often the criteria of step i are checked, at most."""
    criteria = [until for j in plan.weights if (until := sequence.task(j).budget.until)]
    if not criteria:
        return 0
    # the gain of the pretrained model is 0, and no image is generated for it
    before = 0 if i == 1 or plan.start == "pretrained" else 1
    return before + most_checks(updates, min(until.every for until in criteria))


def _calls(cost: Cost) -> dict[str, float]:
    """The calls that a budget can bound, by their names in run.json."""
    return {
        "denoiser_forwards": cost.evaluations,
        "denoiser_backwards": cost.graded,
        "reward_calls": cost.images,
    }


def _until_a_bound(updates: int, bounds: Bounds, each: Cost) -> int:
    """The number of updates, the last of which reaches a bound, and at most `updates`."""
    calls = _calls(each)
    reached = [math.ceil(bound / calls[name]) for name, bound in bounds.items() if calls[name]]
    return min([updates, *reached])


def _at_most(cost: Cost, bounds: Bounds, last: Cost) -> Cost:
    """A cost within bounds, of which the last update exceeds each by at most the cost `last`."""
    calls, more = _calls(cost), _calls(last)
    kept = {name: min(n, bounds[name] + more[name]) if name in bounds else n for name, n in calls.items()}
    return Cost(
        kept["denoiser_forwards"], kept["denoiser_backwards"], kept["reward_calls"], cost.graded_images
    )
