"""The options of ddpo that make it GRPO, compared with the written-out loss in float64."""

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from ril_bench.diffusion.flow import Flow
from ril_bench.errors import UserError
from ril_bench.tuners.ddpo import Ddpo, masked_loss
from tests.toy import (
    ALPHAS_CUMPROD,
    DRAWS,
    PROMPTS,
    SHAPE,
    DoubleDraws,
    ToyModel,
    implied,
    relative_gap,
    toy_task,
    update,
)

STEPS, COPIES = 5, 3


def started(tuner, task, model):
    tuner.start_task(task, model)
    return tuner


def moved(model, by=0.02):
    with torch.no_grad():
        for value in model.trained.values():
            value.add_(by)


def rollout(model, task, draws, noisy):
    """Latents before each step and at the end; the steps outside of `noisy` are those of eta 0."""
    ddim, x = task.sampler, [draws.normal("init", shape=SHAPE)]
    with torch.no_grad():
        for i, t in enumerate(ddim.timesteps):
            out = model.predict(x[-1], t, PROMPTS, task.guidance)
            if i in noisy:
                noise = draws.normal("step", i, shape=SHAPE)
                x.append(ddim.a[i] * x[-1] + ddim.b[i] * out + ddim.sigma[i] * noise)
            elif isinstance(ddim, Flow):
                after = ddim.timesteps[i + 1] if i + 1 < STEPS else 0.0
                x.append(x[-1] + (after - t) / 1000 * out)  # Euler
            else:
                after = ALPHAS_CUMPROD[ddim.timesteps[i + 1] if i + 1 < STEPS else 0]
                x0, noise = implied(ddim, x[-1], out, i)
                x.append(after.sqrt() * x0 + (1 - after).sqrt() * noise)
    return x


def density(model, task, x, i):
    ddim = task.sampler
    eps = model.predict(x, ddim.timesteps[i], PROMPTS, task.guidance)
    return Normal(ddim.a[i] * x + ddim.b[i] * eps, ddim.sigma[i])


def groups(model, task, noisy, std):
    """The rollouts of all copies, and their advantages (copies, 8)."""
    paths = [rollout(model, task, DRAWS.copy(j), noisy) for j in range(COPIES)]
    rewards = torch.stack([task.reward(torch.sigmoid(path[-1]), PROMPTS) for path in paths])
    deviation = rewards.std(correction=0) if std == "batch" else rewards.std(0, correction=0)
    return paths, (rewards - rewards.mean(0)) / deviation


@pytest.mark.parametrize(("micro_batch", "predicts"), [(8, "noise"), (2, "v"), (4, "flow")])
@pytest.mark.parametrize(
    "options",
    [
        {"std": "batch"},
        {"window": 2},
        {"window": 1, "std": "batch", "kl": 0.04},
        {"kl": 0.04, "reference": "pretrained"},
    ],
    ids=str,
)
def test_the_gradient_is_that_of_the_equations(options, micro_batch, predicts):
    model, task = ToyModel(), toy_task(STEPS, predicts=predicts)
    pretrained = options.get("reference") == "pretrained"
    tuner = started(Ddpo(samples=COPIES, **options), task, model)
    reference = ToyModel(shake=0.0) if pretrained else ToyModel()
    moved(model)
    window = options.get("window", STEPS)
    first = DRAWS.integers(0, STEPS - window + 1, "window")
    noisy = range(first, first + window)
    paths, advantage = groups(model, task, noisy, options.get("std"))
    loss = torch.zeros(())
    for path, of_copy in zip(paths, advantage, strict=True):
        for i in noisy:
            step, prior = density(model, task, path[i], i), density(reference, task, path[i], i)
            prior = Normal(prior.mean.detach(), prior.stddev)
            policy = -(of_copy * step.log_prob(path[i + 1]).mean((1, 2, 3))).mean()
            loss = loss + policy + options.get("kl", 0.0) * kl_divergence(step, prior).mean()
    expected = torch.autograd.grad(loss / (COPIES * window), model.parameters())
    found, _ = update(model, task, tuner, micro_batch)
    assert relative_gap(found, expected) < 1e-6  # 1e-8 is added to the deviation


def test_with_its_options_off_grpo_is_ddpo():
    model, task = ToyModel(), toy_task(STEPS)
    off = {"std": "prompt", "window": STEPS, "kl": 0.0, "mask": None}
    plain, grpo = (started(Ddpo(samples=COPIES, **options), task, model) for options in ({}, off))
    for a, b in zip(update(model, task, plain)[0], update(model, task, grpo)[0], strict=True):
        assert torch.equal(a, b)


def test_with_one_prompt_the_deviation_of_the_batch_is_that_of_the_prompt():
    """Eight samples with equal draws, of a model and a reward that ignore the prompt."""
    model, draws = ToyModel(), DoubleDraws((4,), [3] * 8)
    task = toy_task(STEPS, guidance=0.0, reward=lambda images, prompts: images[:, 0].mean((1, 2)))
    of_batch, of_prompt = (started(Ddpo(samples=COPIES, std=std), task, model) for std in ("batch", "prompt"))
    found = [update(model, task, tuner, draws=draws)[0] for tuner in (of_batch, of_prompt)]
    assert relative_gap(*found) < 1e-6


def test_the_masked_loss_drops_what_moves_further():
    advantage = torch.tensor([1.0, 1.0, -1.0, -1.0, 1.0])
    ratio = torch.tensor([1.5, 0.5, 1.5, 0.5, 1.5], requires_grad=True)
    moved_by = torch.tensor([2.0, 2.0, 2.0, 2.0, 0.5])
    loss = masked_loss(advantage, ratio, moved_by, 1.0)
    assert loss.tolist() == pytest.approx([0.0, -0.5, 1.5, 0.0, -1.5])
    assert torch.autograd.grad(loss.sum(), ratio)[0].tolist() == [0.0, -1.0, 1.0, 0.0, -1.0]


def test_the_mask_acts_on_images_that_are_used_again():
    model, task, tau = ToyModel(), toy_task(STEPS), 2e-4
    tuner = started(Ddpo(samples=COPIES, reuse=2, mask="dppo", tau=tau), task, model)
    update(model, task, tuner)
    tuner.after_update(model)
    paths, advantage = groups(model, task, range(STEPS), "prompt")
    old = ToyModel()
    moved(model)
    loss, kept = torch.zeros(()), []
    for path, of_copy in zip(paths, advantage, strict=True):
        for i in range(STEPS):
            now, before = density(model, task, path[i], i), density(old, task, path[i], i)
            log_p, log_p_before = (one.log_prob(path[i + 1]).mean((1, 2, 3)) for one in (now, before))
            rho = (log_p - log_p_before.detach()).exp()
            far = kl_divergence(before, now).mean((1, 2, 3)) >= tau
            drop = far & (((rho > 1) & (of_copy > 0)) | ((rho < 1) & (of_copy < 0)))
            kept.append(~drop)
            loss = loss - torch.where(drop, 0.0, of_copy * rho).mean()
    kept = torch.cat(kept)
    assert 0.1 < kept.double().mean() < 0.9
    expected = torch.autograd.grad(loss / (COPIES * STEPS), model.parameters())
    found, _ = update(model, task, tuner, 4)
    assert relative_gap(found, expected) < 1e-6


def test_a_window_must_fit():
    with pytest.raises(UserError, match="longer than a sampler of 5") as caught:
        started(Ddpo(window=6), toy_task(STEPS), ToyModel())
    assert caught.value.where == "tuner.window"
    with pytest.raises(UserError, match="steps must not exceed window"):
        Ddpo(window=2, steps=3)
