from __future__ import annotations

import torch

from tests.adapted import AdaptedToy, after_tasks, baseline, reloaded, same, shaken, started, updated


def remembering(tasks=1, **options):
    """A method that has finished some tasks, and its model."""
    model, method = AdaptedToy(), baseline("der", samples=5, **options)
    method.bind(model)
    for index in range(1, tasks + 1):
        task = started(method, model, index)
        assert (method.weight_loss() is None) == (index == 1)
        shaken(model, seed=index)
        method.end_task(task, model)
    return method, model


def test_the_model_that_was_stored_has_no_loss():
    method, model = remembering()
    started(method, model, 2)
    assert method.weight_loss().item() == 0
    shaken(model, seed=9)
    assert method.weight_loss().item() > 0


def test_its_loss_by_hand():
    """With one stored state, every draw is that state."""
    model, method = AdaptedToy(), baseline("der", samples=1, strength=3.0, replayed=2)
    method.bind(model)
    task = started(method, model)
    shaken(model)
    method.end_task(task, model)
    (kept,) = method.state_dict()["memory"]
    eps = model.predict(kept["x_t"], kept["t"], [kept["prompt"]], kept["guidance"]).detach()
    torch.testing.assert_close(kept["output"], eps)  # of the model at the end of the task
    started(method, model, 2)
    shaken(model, seed=9)
    now = model.predict(kept["x_t"], kept["t"], [kept["prompt"]], kept["guidance"])
    torch.testing.assert_close(method.weight_loss(), 3 * (now - eps).square().mean())


def test_strength_0_is_naive():
    assert same(after_tasks(baseline("der", strength=0.0, samples=4)), after_tasks(baseline("naive")))
    assert not same(after_tasks(baseline("der", strength=1.0, samples=4)), after_tasks(baseline("naive")))


def test_updates_and_tasks_draw_other_states_and_a_resume_the_same():
    method, model = remembering(replayed=2)
    task = started(method, model, 2)
    shaken(model, seed=9, size=1.0)
    losses = []
    for _ in range(4):
        assert reloaded(method, model).weight_loss().item() == method.weight_loss().item()
        losses.append(method.weight_loss().item())
        method.after_update()
    assert len(set(losses)) > 1
    before = model.joined_delta()
    updated(method, model, task)
    assert any(not torch.equal(before[layer], now) for layer, now in model.joined_delta().items())


def test_it_costs_one_graded_call_for_each_replayed_state():
    method, model = remembering(replayed=3)
    started(method, model, 2)
    model.counter.clear()
    method.weight_loss()
    assert model.counter == {("denoiser", True): 3}
