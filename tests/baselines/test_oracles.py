"""The oracles agem and mapreduce: what they do with the turns of several tasks."""

from __future__ import annotations

import pytest
import torch

from tests.adapted import AdaptedToy, baseline, prediction, reloaded, started


def one_update(method, model, optimizer, gradient_of):
    """An update whose loss has a given gradient in the weights of the model."""
    optimizer.zero_grad(set_to_none=True)
    gradient_of()
    method.adjust_gradients()
    optimizer.step()
    method.after_update()


def test_the_rewards_of_mapreduce_take_turns_and_those_of_agem_come_in_pairs():
    model = AdaptedToy()
    for name, turns in [("mapreduce", [[1], [2], [3], [1]]), ("agem", [[1, 2], [3], [1, 2], [3]])]:
        method = baseline(name)
        method.bind(model)
        started(method, model, 3)
        assert [list(method.turn(update)) for update in range(4)] == turns
        plan = method.plan(["a", "b", "c"], 3)
        assert (plan.weights, plan.updates) == ({1: 1.0, 2: 1.0, 3: 1.0}, "sum")
        assert method.oracle


@pytest.mark.parametrize("name", ["agem", "mapreduce"])
def test_the_first_task_has_its_reward_alone(name):
    model, method = AdaptedToy(), baseline(name)
    method.bind(model)
    started(method, model, 1)
    assert [list(method.turn(update)) for update in range(3)] == [[1]] * 3


# -- agem ----------------------------------------------------------------------------------------------------


def projected(reference, gradient, tasks=2):
    """What agem makes of a gradient after a reference, on the first factor."""
    model, method = AdaptedToy(), baseline("agem")
    method.bind(model)
    started(method, model, tasks)
    first, *rest = model.parameters()
    for values in (reference, gradient):
        first.grad = torch.tensor(values, dtype=torch.float64).reshape(first.shape)
        for weight in rest:
            weight.grad = torch.zeros_like(weight)
        method = reloaded(method, model)  # as after a resume between the two
        method.adjust_gradients()
        found = first.grad
        method.after_update()
    return found.flatten().tolist()


def test_a_gradient_that_agrees_is_left_alone():
    assert projected([1.0, 0, 0, 0, 0, 0], [2.0, -1.0, 0, 0, 0, 0]) == [2.0, -1.0, 0, 0, 0, 0]


@pytest.mark.parametrize("length", [0.01, 1.0, 30.0])
def test_a_gradient_that_disagrees_becomes_orthogonal_to_the_reference(length):
    """g - (-2 / 2) (1, 1) for g = (-4, 2), whatever the length of the reference."""
    found = projected([length, length, 0, 0, 0, 0], [-4.0, 2.0, 1.0, 0, 0, 0])
    assert found == pytest.approx([-3.0, 3.0, 1.0, 0, 0, 0])


def test_a_reference_moves_nothing():
    model, method = AdaptedToy(), baseline("agem")
    method.bind(model)
    task = started(method, model, 3)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.1)
    moved = []
    for _ in range(4):
        before = [weight.detach().clone() for weight in model.parameters()]
        one_update(
            method, model, optimizer, lambda: prediction(model, task).output.square().mean().backward()
        )
        moved.append(any(not torch.equal(a, b) for a, b in zip(model.parameters(), before, strict=True)))
    assert moved == [False, True] * 2


# -- mapreduce -----------------------------------------------------------------------------------------------


def pulled(length, updates, tasks=2):
    """The model after SGD updates in turn; the loss of task j is |W - j * ones|^2 / 2 over the changed layers."""
    model, method = AdaptedToy(rank=3, alpha=3), baseline("mapreduce", length=length)
    method.bind(model)
    task = started(method, model, tasks)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    for update in range(updates):
        wanted = 1.0 + update % tasks

        def gradient_of(wanted=wanted):
            change = [model._change(layer) for layer in model.layers]
            (sum((c - wanted).square().sum() for c in change) / 2).backward()

        method.turn(update)
        one_update(method, model, optimizer, gradient_of)
        if update == 1:
            assert reloaded(method, model).state_dict() == method.state_dict()
    method.end_task(task, model)
    return model


def test_one_round_is_the_mean_of_experts_that_know_nothing_of_each_other():
    model = pulled(length=5, updates=10)
    alone = []
    for wanted in (1.0, 2.0):
        single = AdaptedToy(rank=3, alpha=3)
        for name in ("other", "expert"):  # the toy draws A by the number of adapters
            single.add_adapter(name, seed_key=(0,))
        chosen = "other" if wanted == 1.0 else "expert"
        single.activate({chosen: 1.0}, train=[chosen])
        optimizer = torch.optim.SGD(single.parameters(), lr=0.05)
        for _ in range(5):
            optimizer.zero_grad()
            loss = sum((single._change(layer) - wanted).square().sum() for layer in single.layers) / 2
            loss.backward()
            optimizer.step()
        alone.append(single.joined_delta())
    for layer, found in model.joined_delta().items():
        torch.testing.assert_close(found, (alone[0][layer] + alone[1][layer]) / 2)


def test_rounds_of_one_update_are_steps_on_the_mean_of_the_losses():
    """From B = 0, a step changes a layer by -lr (dloss/dW) A^T A, and leaves A; so the mean is a step of the mean."""
    model = pulled(length=1, updates=6)
    fresh = AdaptedToy(rank=3, alpha=3)
    for name in ("expert-1", "expert-2"):
        fresh.add_adapter(name, seed_key=(0,))
    for layer, found in model.joined_delta().items():
        change = torch.zeros(3, 3, dtype=torch.float64)
        for _ in range(3):
            steps = []
            for j in (1, 2):
                down = fresh.adapter_parameters(f"expert-{j}")[f"{layer}.lora_A.weight"].detach()
                steps.append(-0.05 * (change - j) @ down.T @ down)
            change = change + sum(steps) / 2
        torch.testing.assert_close(found, change)
    assert list(model.adapters) == ["merged"]  # no expert is left
    assert model.trained == []


def test_between_updates_the_mean_of_the_experts_acts():
    """So criteria and evaluations see the model that the step would leave."""
    model, method = AdaptedToy(rank=3, alpha=3), baseline("mapreduce", length=2)
    method.bind(model)
    task = started(method, model, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    for update in range(6):
        method.turn(update)
        one_update(
            method, model, optimizer, lambda: prediction(model, task).output.square().mean().backward()
        )
        between = model.joined_delta()
    method.end_task(task, model)
    assert_same(model.joined_delta(), between)


def test_a_round_that_is_cut_short_counts():
    whole, longer = pulled(length=4, updates=8), pulled(length=4, updates=12)
    cut = pulled(length=2, updates=4)  # the first half of the round of length 4
    assert_same(pulled(length=4, updates=4).joined_delta(), cut.joined_delta())
    for layer, delta in whole.joined_delta().items():
        before, after = ((each - 1.5).norm() for each in (delta, longer.joined_delta()[layer]))
        assert after < before  # the losses' mean is least at 1.5


def assert_same(found, expected):
    for layer, delta in expected.items():
        torch.testing.assert_close(found[layer], delta)
