"""Adjoint Matching, compared with autograd and with a Gaussian case solved by hand."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from ril_bench.draws import Draws
from ril_bench.storage.checkpoint import pack, unpack
from ril_bench.tuners.adjoint_matching import AdjointMatching
from ril_bench.tuners.base import MicroBatch
from ril_bench.tuners.drtune import Drtune
from tests.gaussian import Gaussian, W, linear_reward
from tests.tiny import PROMPTS as TINY_PROMPTS
from tests.tiny import reward_task
from tests.toy import (
    DRAWS,
    PROMPTS,
    SAMPLERS,
    SHAPE,
    DoubleDraws,
    ToyModel,
    peak_of_saved,
    relative_gap,
    toy_task,
    update,
)

STEPS = 6


def started(tuner, task, model):
    tuner.start_task(task, model)
    return tuner


def moved(model, by=0.05):
    """Moves the model away from its base."""
    with torch.no_grad():
        for value in model.trained.values():
            value.add_(by)


def errors(model, base, task, beta, draws=DRAWS):
    """(steps, 8): |(mu_theta - mu_base) / sigma + sigma a|^2, with a from one graph through all steps of the base."""
    ddim, x = task.sampler, [draws.normal("init", shape=SHAPE)]
    with torch.no_grad():
        for i, t in enumerate(ddim.timesteps):
            mean = ddim.a[i] * x[-1] + ddim.b[i] * model.predict(x[-1], t, PROMPTS, task.guidance)
            x.append(mean + ddim.sigma[i] * draws.normal("step", i, shape=SHAPE))
    # Latents with the values of the model's path, and the derivatives of the base model's.
    met = [x[0].clone().requires_grad_()]
    for i, t in enumerate(ddim.timesteps):
        mean = ddim.a[i] * met[-1] + ddim.b[i] * base.predict(met[-1], t, PROMPTS, 1.0)
        met.append(mean + (x[i + 1] - mean).detach())
    adjoints = torch.autograd.grad(-beta * task.reward(torch.sigmoid(met[-1]), PROMPTS).sum(), met)
    found = []
    for i, t in enumerate(ddim.timesteps):
        apart = model.predict(x[i], t, PROMPTS, 1.0) - base.predict(x[i], t, PROMPTS, 1.0).detach()
        control = ddim.b[i] * apart / ddim.sigma[i] + ddim.sigma[i] * adjoints[i + 1]
        found.append(control.square().mean((1, 2, 3)))
    return torch.stack(found)


@pytest.mark.parametrize("units", ["control", "noise"])
@pytest.mark.parametrize(
    ("reference", "steps", "micro_batch"), [("previous", STEPS, 8), ("pretrained", 3, 2)]
)
def test_the_gradient_is_that_of_the_equations(reference, steps, micro_batch, units):
    model, task = ToyModel(), toy_task(STEPS)
    base = ToyModel() if reference == "previous" else ToyModel(shake=0.0)
    options = {"beta": 0.3, "steps": steps, "reference": reference, "units": units}
    tuner = started(AdjointMatching(**options), task, model)
    moved(model)
    chosen, ddim = tuner._steps(STEPS, DRAWS), task.sampler
    scales = [(ddim.sigma[i] / ddim.b[i]) ** 2 if units == "noise" else 1.0 for i in chosen]
    of_steps = errors(model, base, task, 0.3)
    loss = sum(scale * of_steps[i].mean() for scale, i in zip(scales, chosen, strict=True)) / steps
    expected = torch.autograd.grad(loss, model.parameters())
    found, log = update(model, task, tuner, micro_batch)
    assert relative_gap(found, expected) < 1e-10
    assert log.loss == pytest.approx(loss.item(), rel=1e-10)


def test_losses_above_the_moving_quantile_have_no_gradient():
    model, task = ToyModel(), toy_task(STEPS)
    tuner = started(AdjointMatching(beta=0.3, steps=STEPS, quantile=0.5), task, model)
    moved(model)
    update(model, task, tuner, 2)
    tuner.after_update(model)
    roots = errors(model, ToyModel(), task, 0.3).detach().sqrt()
    draws = DoubleDraws((5,), range(8))
    now = errors(model, ToyModel(), task, 0.3, draws)
    kept = now.detach().sqrt() < roots.flatten().quantile(0.5)
    assert 0 < kept.sum() < kept.numel()
    expected = torch.autograd.grad((now * kept).mean(), model.parameters())
    resumed = started(AdjointMatching(beta=0.3, steps=STEPS, quantile=0.5), task, model)
    resumed.load_state_dict(unpack(pack(tuner.state_dict())))
    for one in (tuner, resumed):
        assert relative_gap(update(model, task, one, 4, draws=draws)[0], expected) < 1e-10
    tuner.after_update(model)
    after = now.detach().sqrt().flatten().quantile(0.5)
    threshold = 0.9 * roots.flatten().quantile(0.5) + 0.1 * after
    assert tuner._threshold == pytest.approx(threshold.item())


@pytest.mark.parametrize("predicts", SAMPLERS)
@pytest.mark.parametrize("units", ["control", "noise"])
def test_the_solution_of_a_gaussian_case_has_no_loss(units, predicts):
    """With a linear reward a_i = -beta A_i w, A_i the product of the slopes of the later steps."""
    task = toy_task(STEPS, guidance=1.0, reward=linear_reward, predicts=predicts)
    model, ddim, reach = Gaussian(task.sampler), task.sampler, 1.0
    tuner = started(AdjointMatching(beta=0.8, steps=STEPS, units=units), task, model)
    assert update(model, task, tuner)[1].loss > 1e-4
    with torch.no_grad():
        for i in reversed(range(STEPS)):
            model.trained["shift"][i] = ddim.sigma[i] ** 2 * 0.8 * reach * W / ddim.b[i]
            reach *= ddim.a[i] + ddim.b[i] * model.slope(i)
    gradients, log = update(model, task, tuner)
    assert 0 <= log.loss < 1e-20
    assert max(gradient.abs().max() for gradient in gradients) < 1e-10


@pytest.mark.parametrize("predicts", ["noise", "flow"])
def test_training_reaches_the_tilted_distribution_of_a_gaussian_case(predicts):
    """N(m, v) tilted by exp(beta <w, x>) is N(m + beta v w, v)."""
    steps, beta = 12, 0.8
    task = toy_task(steps, guidance=1.0, reward=linear_reward, predicts=predicts)
    model = Gaussian(task.sampler)
    mean, variance = model.moments()
    tuner = started(AdjointMatching(beta=beta, steps=steps, units="noise", quantile=None), task, model)
    for number in range(8):
        gradients, _ = update(model, task, tuner, draws=DoubleDraws((number,), range(8)))
        with torch.no_grad():
            for value, gradient in zip(model.parameters(), gradients, strict=True):
                value.sub_(0.3 * steps * SHAPE[0] * gradient)
    reached, spread = model.moments()
    torch.testing.assert_close(reached - mean, beta * variance * W, rtol=0.05, atol=0.0)
    torch.testing.assert_close(spread, variance, rtol=0.05, atol=0.0)


def test_half_of_the_steps_come_from_the_first_part():
    for k in (1, 2, 4, 5, 9, 10, 12):
        seen = set()
        for number in range(100):
            chosen = AdjointMatching(steps=k)._steps(10, Draws((number,), range(2)))
            assert len(chosen) == min(k, 10)
            assert all(a < b for a, b in pairwise(chosen))
            seen |= set(chosen)
            if k in (2, 4, 5):
                assert sum(i < 6 for i in chosen) == k // 2
        if k > 1:
            assert seen == set(range(10))


def test_an_update_counts_what_it_says(tiny_model):
    tiny_model.add_adapter("new", seed_key=("new",))
    tiny_model.activate({"new": 1.0}, train=["new"])
    task = reward_task(tiny_model)  # 3 steps, guided
    tuner = started(AdjointMatching(steps=2), task, tiny_model)
    draws = next(draws for n in range(20) if tuner._steps(3, draws := Draws((n,), range(4)))[0] == 0)
    tuner.accumulate(tiny_model, task, MicroBatch(TINY_PROMPTS, draws))
    assert tiny_model.counter == {
        ("denoiser", False, 8): 3,
        ("denoiser", False, 4): 1,
        ("denoiser to latents", True, 4): 2,
        ("denoiser", True, 4): 2,
        ("decode", True, 4): 1,
        ("reward:brightness", True, 4): 1,
    }
    tiny_model.activate({})  # no graph is left open


def test_it_holds_one_call_whatever_the_number_of_trained_steps(tiny_model):
    tiny_model.add_adapter("new", seed_key=("new",))
    tiny_model.activate({"new": 1.0}, train=["new"])
    task = replace(reward_task(tiny_model), sampler=toy_task(6).sampler)

    def peak(tuner):
        tuner.start_task(task, tiny_model)
        return peak_of_saved(lambda: update(tiny_model, task, tuner))

    of_drtune = peak(Drtune(k=1, m=0))
    for steps in (1, 6):
        assert 0 < peak(AdjointMatching(steps=steps)) <= 1.1 * of_drtune
