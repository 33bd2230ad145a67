from __future__ import annotations

import pytest
import torch

from tests.adapted import AdaptedToy, after_tasks, baseline, reloaded, same, started, updated


def with_gradient(model, value):
    for weight in model.parameters():
        weight.grad = torch.full_like(weight, value)


def moved(model, step):
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(step)


def after_one_task(gradients, **options):
    """The model and the method after a task of updates with these gradients, at the start of the second task."""
    model, method = AdaptedToy(), baseline("taylor", **options)
    method.bind(model)
    task = started(method, model)
    for gradient in gradients:
        with_gradient(model, gradient)
        assert method.weight_loss() is None  # nothing holds the first task
        method.after_update()
    method.end_task(task, model)
    started(method, model, 2)
    with_gradient(model, 0.0)
    return model, method, sum(weight.numel() for weight in model.parameters())


def test_its_loss_by_hand():
    """The average of gradients 2, then 1, at decay .5 is (.5 * 1 + .25 * 2) / .75 = 4 / 3."""
    model, method, entries = after_one_task([2.0, 1.0], strength=3.0, margin=0.5, decay=0.5)
    assert method.weight_loss().item() == pytest.approx(3.0 * 0.5)  # no move: the margin alone
    moved(model, 0.01)
    assert method.weight_loss().item() == pytest.approx(3.0 * (entries * 4 / 3 * 0.01 + 0.5), rel=1e-5)


def test_where_the_predicted_gain_reaches_the_margin_nothing_pulls():
    model, method, entries = after_one_task([1.0], strength=3.0, margin=0.5)
    moved(model, -0.51 / entries)
    assert method.weight_loss().item() == 0.0
    moved(model, 0.02 / entries)
    loss = method.weight_loss()
    assert loss.item() == pytest.approx(3.0 * 0.01, rel=1e-2)
    loss.backward()
    for weight in model.parameters():  # down the gradient of the earlier loss
        torch.testing.assert_close(weight.grad, torch.full_like(weight, 3.0))


def test_a_linear_reward_is_predicted_without_error():
    """For a loss that is linear in the weights, the predicted fall is the fall."""
    model, method, _ = after_one_task([0.7], strength=1.0, margin=0.0)
    before = sum(0.7 * weight.sum().item() for weight in model.parameters())
    moved(model, 0.05)
    after = sum(0.7 * weight.sum().item() for weight in model.parameters())
    assert method.weight_loss().item() == pytest.approx(after - before, rel=1e-4)


def test_every_earlier_task_has_its_own_term():
    method = baseline("taylor", strength=1.0, margin=0.25)
    model = after_tasks(method, tasks=2)
    started(method, model, 3)
    with_gradient(model, 0.0)
    terms = method.state_dict()["terms"]
    expected = [
        sum(
            (g[name] * (w - kept[name])).sum().item()
            for name, w in model.adapter_parameters("adapter").items()
        )
        for g, kept in terms
    ]
    assert len(terms) == 2
    assert expected[1] == pytest.approx(0.0, abs=1e-6)  # the newest is at its own weights
    assert method.weight_loss().item() == pytest.approx(
        sum(max(0.0, fall + 0.25) for fall in expected), rel=1e-4
    )


def test_strength_0_is_naive_and_a_resume_inside_a_task_keeps_the_average():
    assert same(after_tasks(baseline("taylor", strength=0.0)), after_tasks(baseline("naive")))
    method = baseline("taylor")
    model = after_tasks(method)
    task = started(method, model, 3)
    updated(method, model, task, updates=2)
    again = reloaded(method, model)
    assert again.state_dict()["updates"] == 2
    for name, average in method.state_dict()["average"].items():
        torch.testing.assert_close(again.state_dict()["average"][name], average)
