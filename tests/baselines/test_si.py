from __future__ import annotations

import pytest
import torch

from tests.adapted import AdaptedToy, after_tasks, baseline, prediction, reloaded, same, started, updated


def stepped(method, model, gradient, step):
    """One update with this gradient and this step for every entry."""
    for weight in model.parameters():
        weight.grad = torch.full_like(weight, gradient)
    method.weight_loss()
    with torch.no_grad():
        for weight in model.parameters():
            weight.grad.add_(100.0)  # what other hooks add comes too late to count
            weight.add_(step)
    method.after_update()


def test_importance_and_loss_by_hand():
    model, method = AdaptedToy(), baseline("si", strength=0.5, damping=0.01)
    method.bind(model)
    task = started(method, model)
    stepped(method, model, gradient=-2.0, step=0.1)  # contributes .2
    stepped(method, model, gradient=1.0, step=0.1)  # takes .1 back
    method.end_task(task, model)
    importance = 0.1 / (0.2**2 + 0.01)
    started(method, model, 2)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.3)
            weight.grad = torch.zeros_like(weight)
    entries = sum(weight.numel() for weight in model.parameters())
    assert method.weight_loss().item() == pytest.approx(0.5 * entries * importance * 0.3**2)


def test_the_path_integral_of_small_steps_is_the_fall_of_the_loss():
    """Along a path of small gradient steps, sum of -g dtheta is what the loss lost (Zenke et al., eq. 3)."""
    model, method = AdaptedToy(), baseline("si")
    method.bind(model)
    task = started(method, model)
    start, end = [], []
    for losses in (start, end):
        losses.append(prediction(model, task).output.square().mean().item())
        if losses is start:
            updated(method, model, task, updates=60, lr=2e-4)
    path = sum(path.sum().item() for path in method.state_dict()["path"].values())
    assert path == pytest.approx(start[0] - end[0], rel=0.02)


def test_moves_that_raised_the_loss_hold_nothing():
    model, method = AdaptedToy(), baseline("si")
    method.bind(model)
    task = started(method, model)
    stepped(method, model, gradient=1.0, step=0.1)
    method.end_task(task, model)
    assert all(not importance.any() for importance in method.state_dict()["importance"].values())


def test_equal_importance_is_l2():
    si, l2 = baseline("si", strength=1.5), baseline("l2", strength=3.0)
    models = [after_tasks(method, tasks=1) for method in (si, l2)]
    assert same(*models)
    si._importance = {name: torch.ones_like(weight) for name, weight in si._anchor.items()}
    si._anchor = l2._anchor
    for model in models:
        with torch.no_grad():
            for weight in model.parameters():
                weight.add_(0.1)
                weight.grad = torch.zeros_like(weight)
    torch.testing.assert_close(si.weight_loss(), l2.weight_loss())


def test_strength_0_is_naive_and_a_resume_inside_a_task_keeps_the_path():
    assert same(after_tasks(baseline("si", strength=0.0)), after_tasks(baseline("naive")))
    method = baseline("si")
    model = after_tasks(method)
    task = started(method, model, 3)
    updated(method, model, task, updates=2)
    fresh = reloaded(method, model)
    for one in (method, fresh):
        one.end_task(task, model)
    found, expected = (one.state_dict()["importance"] for one in (fresh, method))
    assert all(torch.equal(found[name], value) for name, value in expected.items())
