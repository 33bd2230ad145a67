from __future__ import annotations

import pytest
import torch

from tests.adapted import (
    AdaptedToy,
    after_tasks,
    baseline,
    prediction,
    reloaded,
    same,
    shaken,
    started,
    updated,
)


def in_task(index=3, scale=1.0):
    """A method in a later task, its model, and the task."""
    model, method = AdaptedToy(), baseline("sdlora")
    method.bind(model)
    for k in range(1, index + 1):
        task = started(method, model, k)
        shaken(model, seed=k)
        model.active[model.trained[-1]] = scale  # where the magnitude of a task ended
    return method, model, task


@pytest.mark.parametrize("scale", [1.0, 0.7])
def test_the_gradient_of_a_magnitude_is_autograds(scale):
    method, model, task = in_task(scale=scale)
    prediction(model, task).output.square().mean().backward()
    method.adjust_gradients()
    found = [magnitude.grad for magnitude in method.parameters()]
    scales = [torch.tensor(scale, dtype=torch.float64, requires_grad=True) for _ in found]
    model.active.update({f"task-{k}": s for k, s in enumerate(scales, 1)})
    expected = torch.autograd.grad(prediction(model, task).output.square().mean(), scales)
    torch.testing.assert_close(torch.stack(found).double(), torch.stack(expected), rtol=1e-5, atol=1e-8)


def test_directions_stay_and_magnitudes_move():
    method, model, task = in_task()
    before = {name: model.delta(name) for name in ("task-1", "task-2")}
    updated(method, model, task)
    for name, delta in before.items():
        assert all(torch.equal(model.delta(name)[layer], kept) for layer, kept in delta.items())
        assert model.active[name] != 1.0
    assert model.active["task-3"] == 1.0


def test_with_the_magnitudes_held_it_is_an_adapter_per_task():
    held = baseline("sdlora")
    held.parameters = list
    plain = after_tasks(baseline("lora_per_task"))
    assert same(after_tasks(held), plain)
    assert not same(after_tasks(baseline("sdlora")), plain)


def test_a_task_begins_with_the_model_of_the_task_before():
    method, model, task = in_task(2)
    updated(method, model, task)
    ended = model.joined_delta()
    started(method, model, 3)
    assert all(torch.equal(model.joined_delta()[layer], delta) for layer, delta in ended.items())


def test_a_resume_has_the_magnitudes():
    method, model, task = in_task()
    updated(method, model, task)
    assert [s.item() for s in reloaded(method, model).parameters()] == [s.item() for s in method.parameters()]
    assert method.state_dict()["magnitudes"].keys() == {"task-1", "task-2"}
