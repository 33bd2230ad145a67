"""opd: its teachers and its loss on the toy denoiser; the phase itself is tested in tests/running/."""

from __future__ import annotations

import pytest
import torch

from ril_bench.diffusion.drift import step_kl
from ril_bench.methods import Consolidation
from tests.adapted import AdaptedToy, adapted_task, baseline, prediction, shaken, started, updated


def consolidating(tasks=2):
    """A method at the start of a consolidation, its model, and the changes of the layers that each task left."""
    model, method, left = AdaptedToy(), baseline("opd"), []
    method.bind(model)
    for index in range(1, tasks + 1):
        task = started(method, model, index)
        assert method.prediction_loss(prediction(model, task)) is None  # while the reward trains
        shaken(model, seed=index)
        left.append(model.joined_delta())
        if index > 1:
            method.start_consolidation(task, model)
            if index < tasks:
                shaken(model, seed=-index)
    return method, model, left


def test_the_student_starts_as_the_last_teacher():
    _, model, left = consolidating()
    assert model.trained == ["student-2"]
    assert all(torch.equal(model.joined_delta()[layer], change) for layer, change in left[-1].items())


@pytest.mark.parametrize("tasks", [2, 3])
def test_its_loss_is_the_mean_divergence_from_what_the_tasks_left(tasks):
    method, model, left = consolidating(tasks)
    shaken(model, seed=9)
    now, divergences = prediction(model, adapted_task(tasks)), []
    for change in left:
        with model.folded({}, deltas=change):
            teacher = model.predict(now.x_t, now.t, now.prompts, now.guidance).detach()
        divergences.append(step_kl(now.sampler, now.output, teacher, now.step).mean())
    torch.testing.assert_close(method.prediction_loss(now), sum(divergences) / tasks)


def test_the_mean_over_teachers_pulls_to_the_mean_of_their_noise():
    """The gradient of a mean of squared distances is that of the squared distance from the mean."""
    method, model, left = consolidating()
    task = adapted_task(2)
    now = prediction(model, task)
    found = torch.autograd.grad(method.prediction_loss(now), model.parameters())
    noises = []
    for change in left:
        with model.folded({}, deltas=change):
            noises.append(model.predict(now.x_t, now.t, now.prompts, now.guidance).detach())
    now = prediction(model, task)
    loss = step_kl(now.sampler, now.output, sum(noises) / len(noises), now.step).mean()
    expected = torch.autograd.grad(loss, model.parameters())
    assert any(gradient.any() for gradient in expected)
    for gradient, wanted in zip(found, expected, strict=True):
        torch.testing.assert_close(gradient, wanted)


def test_the_student_comes_nearer_to_all_teachers_and_the_adapters_of_the_tasks_stay():
    method, model, _ = consolidating()
    task, before = adapted_task(2), {name: model.delta(name) for name in ("task-1", "task-2")}
    start = method.prediction_loss(prediction(model, task)).item()
    updated(method, model, task, updates=20, lr=0.002)
    assert method.prediction_loss(prediction(model, task)).item() < start
    for name, delta in before.items():
        assert all(torch.equal(model.delta(name)[layer], kept) for layer, kept in delta.items())


def test_the_first_task_has_nothing_to_consolidate():
    method = baseline("opd", updates=0.5, calls=3)
    assert method.plan(["a"], 1).consolidation is None
    assert method.plan(["a", "b"], 2).consolidation == Consolidation(updates=0.5, calls=3)
    assert not method.oracle
