"""What hooks may return: a wrong result is the method's or the tuner's fault, with the name of the hook."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import nn

from ril_bench.errors import MethodError
from ril_bench.methods import Consolidation, Method, Plan
from ril_bench.running.hook_results import (
    checked_log,
    checked_plan,
    checked_scores,
    scalar_loss,
    tasks_of_turn,
    trained_parameters,
)
from ril_bench.tuners.base import Log
from tests.tiny import runner


class Oracle(Method):
    oracle = True


PLANS = [
    None,
    {1: 1.0},
    Plan(weights={}),
    Plan(weights=[1]),
    Plan(weights={3: 1.0}),
    Plan(weights={"1": 1.0}),
    *(Plan(weights={2: weight}) for weight in (0, -1.0, math.inf, math.nan, "1")),
    *(Plan(weights={2: 1.0}, extension=factor) for factor in (0, math.nan, math.inf, "2")),
    Plan(weights={2: 1.0}, updates="foo"),
    Plan(weights={2: 1.0}, start="pretained"),
    Plan(weights={2: 1.0}, consolidation=4),
    Plan(weights={2: 1.0}, consolidation=Consolidation(updates=math.inf)),
    Plan(weights={2: 1.0}, consolidation=Consolidation(calls=0)),
    Plan(weights={1: 1.0, 2: 1.0}),  # what an oracle may
    Plan(weights={2: 1.0}, extension=2),
]


@pytest.mark.parametrize("plan", PLANS, ids=repr)
def test_a_plan_that_does_not_fit_is_refused(plan):
    with pytest.raises(MethodError) as caught:
        checked_plan(plan, Method(), 2)
    assert caught.value.where.endswith(", Method.plan")


def test_plans_that_fit():
    plan = Plan(weights={2: 1.0}, consolidation=Consolidation(updates=0.5))
    assert checked_plan(plan, Method(), 2) is plan
    plan = Plan(weights={1: 1, 2: 0.5}, updates="sum", extension=2, start="pretrained")
    assert checked_plan(plan, Oracle(), 2) is plan


@pytest.mark.parametrize(
    "scores",
    [
        torch.zeros(3),
        torch.zeros(2, 4),
        torch.zeros(1, 2, 3),
        torch.zeros(2, 3, dtype=torch.long),
        [[1.0]],
        0.0,
    ],
)
def test_scores_of_another_shape_are_refused(scores):
    with pytest.raises(MethodError, match=r"score returned .* it must be .* \(copies, 3\)"):
        checked_scores(scores, 3)


def test_scores_that_fit():
    assert checked_scores(None, 3) is None
    assert checked_scores(scores := torch.zeros(2, 3), 3) is scores


@pytest.mark.parametrize("turn", [[9], [], 1, "1", {"1"}, [None]])
def test_a_turn_of_other_tasks_is_refused(turn):
    with pytest.raises(MethodError, match="turn returned"):
        tasks_of_turn(turn, {1: 1.0, 2: 1.0})


def test_turns_that_fit():
    assert set(tasks_of_turn(None, {1: 1.0, 2: 1.0})) == {1, 2}
    assert tasks_of_turn([2], {1: 1.0, 2: 1.0}) == [2]


@pytest.mark.parametrize(
    "found", [None, 3, [1], ["a"], [torch.zeros(2, dtype=torch.long)], [nn.Parameter(torch.ones(1)) * 2]]
)
def test_parameters_that_cannot_be_trained_are_refused(found):
    class Mine(Method):
        def parameters(self):
            return found

    with pytest.raises(MethodError, match="parameters returned"):
        trained_parameters(Mine())


@pytest.mark.parametrize("loss", [1.0, torch.zeros(2), torch.tensor(1), "x"])
def test_a_loss_that_is_no_scalar_is_refused(loss):
    with pytest.raises(MethodError, match="weight_loss returned"):
        scalar_loss(loss, "weight_loss")


@pytest.mark.parametrize("hook", ["weight_loss", "prediction_loss"])
def test_a_loss_without_a_gradient_is_refused(hook):
    weight = torch.ones(2, requires_grad=True)
    with pytest.raises(MethodError, match=f"{hook} returned 2 without a gradient") as caught:
        scalar_loss(weight.detach().sum(), hook)
    assert "adapter_parameters" in caught.value.hint
    assert scalar_loss(torch.tensor(0.0), hook) == 0  # as in a first task
    assert scalar_loss(loss := weight.sum(), hook) is loss


@pytest.mark.parametrize(
    "log", [None, 1.0, (0.0, 0.0, 0.0), Log(torch.zeros(2), 0.0, 0.0), Log("a", 0.0, 0.0)]
)
def test_a_log_that_is_none_is_refused(log):
    with pytest.raises(MethodError, match="accumulate returned"):
        checked_log(log)


@pytest.mark.parametrize(
    ("hook", "result"),
    [
        ("turn(self, update)", "[99]"),
        ("turn(self, update)", "'brightness'"),
        ("plan(self, tasks, i)", "None"),
        ("parameters(self)", "[1]"),
        ("weight_loss(self)", "1.0"),
        ("prediction_loss(self, prediction)", "prediction.output"),
    ],
)
def test_in_a_run_the_failure_is_the_methods(
    hook: str, result: str, tiny_sequence: str, tmp_path: Path
) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "from ril_bench import Method\nclass Mine(Method):\n"
        "    def start_task(self, task, model):\n"
        "        model.add_adapter(task.name, seed_key=task.key)\n"
        "        model.activate({task.name: 1.0}, train=[task.name])\n"
        f"    def {hook}:\n        return {result}\n"
    )
    with pytest.raises(MethodError, match=f"{hook.partition('(')[0]} returned"):
        runner(tiny_sequence, tmp_path / "out", str(file)).execute()
