"""DRaFT, compared with plain autograd through PEFT's live layers."""

from dataclasses import dataclass

import pytest
import torch

from ril_bench.diffusion.ddim import DDIM
from ril_bench.draws import Draws
from ril_bench.errors import UserError
from ril_bench.tuners.base import Log, MicroBatch
from ril_bench.tuners.draft import Draft
from tests.pipelines import LATENT

PROMPTS = ["a red circle", "a large blue star", "a", "green square above a star"] * 2
DRAWS = Draws((0, 1, 2), range(8))
GUIDANCE = 3.0


def red_minus_blue(images, prompts):
    lengths = torch.tensor(
        [len(prompt) for prompt in prompts]
    )  # so that a prompt of another sample changes the reward
    return (images[:, 0] - images[:, 2]).square().mean((1, 2)) * lengths


@dataclass
class Task:
    sampler: DDIM
    guidance: float = GUIDANCE
    reward: object = staticmethod(red_minus_blue)


@pytest.fixture
def model(tiny_model):
    """A frozen adapter, and one that trains."""
    generator = torch.Generator().manual_seed(0)
    for name in ("old", "new"):
        tiny_model.add_adapter(name, seed_key=(name,))
        with torch.no_grad():
            for parameter in tiny_model.adapter_parameters(name).values():
                parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator))
    tiny_model.activate({"old": 1.0, "new": 1.0}, train=["new"])
    return tiny_model


@pytest.fixture
def task(model):
    return Task(model.sampler(3, 1.0))


def gradients(model):
    found = [parameter.grad.clone() for parameter in model.parameters()]
    for parameter in model.parameters():
        parameter.grad = None
    return found


def update(model, task, tuner, micro_batch, penalty=None):
    log = Log(0.0, 0.0, 0.0)
    for i in range(0, 8, micro_batch):
        part = slice(i, i + micro_batch)
        log += tuner.accumulate(model, task, MicroBatch(PROMPTS[part], DRAWS[part], micro_batch / 8, penalty))
    return gradients(model), log


def by_plain_autograd(model, task, k, penalty_of_x0=None):
    ddim = task.sampler
    text = torch.cat([model.embed([""] * 8), model.embed(PROMPTS)])
    x, penalty = DRAWS.normal("init", shape=LATENT), torch.zeros(())
    for i, t in enumerate(ddim.timesteps):
        with torch.set_grad_enabled(i >= ddim.steps - k):
            uncond, cond = model.denoiser(torch.cat([x, x]), t, encoder_hidden_states=text).sample.chunk(2)
            eps = uncond + GUIDANCE * (cond - uncond)
            if penalty_of_x0 is not None and i >= ddim.steps - k:
                penalty = penalty + penalty_of_x0(ddim.x0hat(x.detach(), eps, i)) / k
            x = ddim.a[i] * x + ddim.b[i] * eps + ddim.sigma[i] * DRAWS.normal("step", i, shape=LATENT)
    reward = red_minus_blue(model.decode(x), PROMPTS).mean()
    return torch.autograd.grad(penalty - reward, model.parameters()), reward.item(), penalty.item()


def relative_gap(found, expected):
    flat, reference = (torch.cat([gradient.flatten() for gradient in side]) for side in (found, expected))
    assert reference.norm() > 0
    return float((flat - reference).norm() / reference.norm())


@pytest.mark.parametrize("k", [1, 2, "full"])
def test_the_gradient_is_plain_autograds(model, task, k):
    expected, reward, _ = by_plain_autograd(model, task, 3 if k == "full" else k)
    found, log = update(model, task, Draft(k=k), micro_batch=8)
    assert relative_gap(found, expected) < 1e-4
    assert log.reward == pytest.approx(reward, rel=1e-4)
    assert (log.loss, log.penalty) == (-log.reward, 0.0)


@pytest.mark.parametrize("k", [1, 2])
def test_the_penalty_is_the_mean_over_graded_calls(model, task, k):
    expected, reward, penalty = by_plain_autograd(model, task, k, lambda x0: 0.1 * x0.square().mean())
    found, log = update(model, task, Draft(k=k), 8, penalty=lambda p: 0.1 * p.x0().square().mean())
    assert relative_gap(found, expected) < 1e-4
    assert log.penalty == pytest.approx(penalty, rel=1e-3)
    assert log.loss == pytest.approx(-reward, rel=1e-4)


@pytest.mark.parametrize("micro_batch", [4, 1])
def test_an_update_does_not_depend_on_its_micro_batches(model, task, micro_batch):
    def penalty(prediction):
        return 0.1 * prediction.x0().square().mean()

    whole, log = update(model, task, Draft(k=2), 8, penalty)
    parts, log_of_parts = update(model, task, Draft(k=2), micro_batch, penalty)
    assert relative_gap(parts, whole) < 1e-5
    for key in ("reward", "loss", "penalty"):
        assert getattr(log_of_parts, key) == pytest.approx(getattr(log, key), rel=1e-5)


def test_a_penalty_may_ask_a_teacher_and_may_be_none(model, task):
    def distance_to_teacher(prediction):
        with torch.no_grad(), model.folded({"old": 1.0}):
            teacher = model.predict(prediction.x_t, prediction.t, prediction.prompts, prediction.guidance)
        return (prediction.output - teacher).square().mean()

    without, _ = update(model, task, Draft(k=1), 8)
    none, log = update(model, task, Draft(k=1), 8, penalty=lambda prediction: None)
    assert all(torch.equal(a, b) for a, b in zip(without, none, strict=True))
    assert log.penalty == 0.0
    distilled, log = update(model, task, Draft(k=1), 8, penalty=distance_to_teacher)
    assert log.penalty > 0
    assert relative_gap(distilled, without) > 1e-3


def test_an_update_counts_what_it_says(model, task):
    update(model, task, Draft(k=1), 4)
    assert model.counter == {
        ("denoiser", False, 8): 2 * 2,
        ("denoiser", True, 8): 2 * 1,
        ("decode", True, 4): 2,
    }


def test_only_what_trains_gets_a_gradient(model, task):
    Draft(k=1).accumulate(model, task, MicroBatch(PROMPTS, DRAWS))
    everything = [*model.denoiser.parameters(), *model.pipe.vae.parameters()]
    with_gradient = {id(parameter) for parameter in everything if parameter.grad is not None}
    assert with_gradient == {id(parameter) for parameter in model.parameters()}
    model.activate({"old": 1.0})  # no graph is left open


def test_steps_along_the_gradient_raise_the_reward_and_leave_the_frozen_adapter(model, task):
    frozen = [parameter.clone() for parameter in model.adapter_parameters("old").values()]
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.1)
    rewards = []
    for _ in range(4):
        optimizer.zero_grad()
        rewards.append(Draft(k="full").accumulate(model, task, MicroBatch(PROMPTS, DRAWS)).reward)
        optimizer.step()
    assert rewards == sorted(rewards)
    assert rewards[-1] > rewards[0]
    for before, after in zip(frozen, model.adapter_parameters("old").values(), strict=True):
        assert torch.equal(before, after)


def test_a_reward_without_gradient_is_refused(model, task):
    task.reward = lambda images, prompts: images.detach().mean((1, 2, 3))
    with pytest.raises(UserError, match="no gradient"):
        Draft(k=1).accumulate(model, task, MicroBatch(PROMPTS, DRAWS))


def test_k_must_fit_the_sampler(model, task):
    Draft(k=3).start_task(task, model)
    Draft(k="full").start_task(task, model)
    with pytest.raises(UserError, match="last 4 steps"):
        Draft(k=4).start_task(task, model)


@pytest.mark.parametrize("k", [0, -1, "all", True, 1.5])
def test_k_is_a_count_or_full(k):
    with pytest.raises(UserError, match="k"):
        Draft(k=k)
