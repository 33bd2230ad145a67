"""kl, against the divergence of Gaussians in torch, and against lwf."""

from __future__ import annotations

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from tests.adapted import (
    AdaptedToy,
    after_tasks,
    baseline,
    prediction,
    reloaded,
    same,
    shaken,
    started,
)


def second_task(**options):
    """A method in its second task, its model, and the task."""
    model, method = AdaptedToy(), baseline("kl", **options)
    method.bind(model)
    started(method, model)
    shaken(model, seed=1)
    task = started(method, model, 2)
    shaken(model, seed=2)
    return method, model, task


@pytest.mark.parametrize("anchor", ["pretrained", "previous"])
@pytest.mark.parametrize("step", [0, 3, 5])
def test_its_loss_is_the_divergence_of_two_gaussian_steps(anchor, step):
    method, model, task = second_task(strength=2.0, anchor=anchor)
    now, ddim = prediction(model, task, step), task.sampler
    with model.folded({} if anchor == "pretrained" else {"task-1": 1.0}):
        frozen = model.predict(now.x_t, now.t, now.prompts, now.guidance)
    steps = [
        Normal(ddim.step(now.x_t, eps, step, None), ddim.sigma[step]) for eps in (now.output, frozen.detach())
    ]
    by_torch = kl_divergence(*steps).flatten(1).sum(1).mean()
    torch.testing.assert_close(method.prediction_loss(now), 2 * by_torch)


def test_a_model_that_equals_its_anchor_has_no_loss():
    model, method = AdaptedToy(), baseline("kl", anchor="previous")
    method.bind(model)
    for index in (1, 2):
        task = started(method, model, index)
        loss = method.prediction_loss(prediction(model, task)).item()
        assert loss == pytest.approx(
            0, abs=1e-24
        )  # folding rounds: in float64 by 1e-16, and the loss is a square
        shaken(model)


def test_with_the_anchor_previous_it_is_lwf_with_a_weight_for_each_step():
    method, model, task = second_task(strength=1.0, anchor="previous")
    lwf = baseline("lwf", strength=1.0, space="noise")
    lwf.bind(model)
    for step in (1, 4):
        now = prediction(model, task, step)
        weight = (task.sampler.b[step] / task.sampler.sigma[step]) ** 2 / 2 * now.output[0].numel()
        torch.testing.assert_close(method.prediction_loss(now), weight * lwf.prediction_loss(now))


def test_strength_0_is_an_adapter_per_task():
    plain = after_tasks(baseline("lora_per_task"))
    assert same(after_tasks(baseline("kl", strength=0.0)), plain)
    assert not same(after_tasks(baseline("kl", strength=1.0)), plain)


@pytest.mark.parametrize(("ratio", "factor"), [(0.5, 0.98), (0.9, 0.99), (1.05, 1.005), (3.0, 1.02)])
def test_the_strength_follows_the_divergence(ratio, factor):
    """The strength changes by a tenth of the relative excess, which is clipped at a fifth."""
    method, model, task = second_task(strength=1.0)
    now = prediction(model, task)
    steered, model, task = second_task(strength=1.0, target=method.prediction_loss(now).item() / ratio)
    steered.prediction_loss(prediction(model, task))
    steered.after_update()
    assert steered.state_dict()["strength"] == pytest.approx(factor)
    assert reloaded(steered, model).state_dict() == steered.state_dict()
    steered.after_update()  # an update that differentiated no prediction changes nothing
    assert steered.state_dict()["strength"] == pytest.approx(factor)
    method.after_update()
    assert method.state_dict()["strength"] == 1.0  # without a target it stays
