"""DiffusionNFT and CRD, compared with their published equations in velocities."""

from dataclasses import replace

import pytest
import torch

from ril_bench.tuners.crd import Crd
from ril_bench.tuners.forward_process import optimality, scaled_error
from ril_bench.tuners.nft import Nft
from ril_bench.tuners.reference import MovingAverage
from tests.gaussian import Gaussian, W, linear_reward
from tests.toy import (
    DRAWS,
    PROMPTS,
    SHAPE,
    DoubleDraws,
    ToyModel,
    colourful,
    implied,
    levels,
    relative_gap,
    toy_task,
    update,
)

STEPS, COPIES = 4, 3


def started(tuner, task, model):
    tuner.start_task(task, model)
    return tuner


def moved(model, by=0.02):
    with torch.no_grad():
        for value in model.trained.values():
            value.add_(by)
    return model


def images_of(model, task):
    """x_0 (copies, 8, C, h, w) and rewards (copies, 8) of the copies of eight samples."""
    ddim, found = task.sampler, []
    with torch.no_grad():
        for j in range(COPIES):
            draws = DRAWS.copy(j)
            x = draws.normal("init", shape=SHAPE)
            for i, t in enumerate(ddim.timesteps):
                noise = draws.normal("step", i, shape=SHAPE) if ddim.eta else None
                x = ddim.step(x, model.predict(x, t, PROMPTS, task.guidance), i, noise)
            found.append(x)
    return torch.stack(found), torch.stack([task.reward(torch.sigmoid(x), PROMPTS) for x in found])


class Flow:
    """The velocity of a model on the straight path z = (1 - s) x0 + s n; z is x_t rescaled."""

    def __init__(self, task, i):
        self.sampler, self.i = task.sampler, i
        self.clean, self.noisy = levels(task.sampler, i)
        self.t, self.s = task.sampler.timesteps[i], self.noisy / (self.clean + self.noisy)

    def path(self, x0, noise):
        return (1 - self.s) * x0 + self.s * noise

    def velocity(self, model, z, guidance=1.0):
        x = z * (self.clean + self.noisy)
        x0, noise = implied(self.sampler, x, model.predict(x, self.t, PROMPTS, guidance), self.i)
        return noise - x0

    def x0(self, v, z):
        return z - self.s * v


def published_q(rewards):
    return (((rewards - rewards.mean(0)) / rewards.std(correction=0)).clamp(-5, 5) / 5 / 2 + 0.5).clamp(0, 1)


def mean(x):
    return x.mean((1, 2, 3))


def scaled(error):
    return mean(error**2) / mean(error.detach().abs())


def nft_written_out(model, old, reference, task, *, beta, kl):
    x0s, rewards = images_of(old, task)
    total = torch.zeros(())
    for i in range(STEPS):
        flow = Flow(task, i)
        for j, (x0, q) in enumerate(zip(x0s, published_q(rewards), strict=True)):
            z = flow.path(x0, DRAWS.copy(j).normal("noise", i, shape=SHAPE))
            v, v_old, v_ref = (flow.velocity(one, z) for one in (model, old, reference))
            v_old, v_ref = v_old.detach(), v_ref.detach()
            better = flow.x0(beta * v + (1 - beta) * v_old, z)
            worse = flow.x0((1 + beta) * v_old - beta * v, z)
            losses = q * scaled(better - x0) / beta + (1 - q) * scaled(worse - x0) / beta
            total = total + (5 * losses.mean() + kl * (v - v_ref).square().mean()) / (STEPS * COPIES)
    return total


def crd_written_out(model, old, reference, task, *, beta, kl, guidance=1.0):
    x0s, rewards = images_of(old, task)
    q, total, m = published_q(rewards), torch.zeros(()), 1e-4 / kl
    for i in range(STEPS):
        flow, implicit, distances = Flow(task, i), [], []
        for j, x0 in enumerate(x0s):
            noise = DRAWS.copy(j).normal("noise", i, shape=SHAPE)
            z, u = flow.path(x0, noise), noise - x0
            v, v_old = flow.velocity(model, z), flow.velocity(old, z).detach()
            v_ref = flow.velocity(reference, z, guidance).detach()
            implicit.append(-(scaled(v - u) - scaled(v_old - u)))
            distances.append(mean((v - v_ref).square()))
        r, distance = torch.stack(implicit), torch.stack(distances)
        gap = beta * (r - r.mean(0)) - (q - q.mean(0))
        total = total + 5 / beta * gap.square().mean() / STEPS
        total = total + kl * ((m + q * (1 - m)) * distance).mean() / STEPS
    return total


@pytest.mark.parametrize(
    ("eta", "micro_batch", "predicts"), [(0.0, 8, "noise"), (1.0, 2, "noise"), (0.0, 4, "flow")]
)
@pytest.mark.parametrize(
    ("tuner", "written_out", "options"),
    [
        (Nft, nft_written_out, {"beta": 1.0, "kl": 0.01}),
        (Nft, nft_written_out, {"beta": 0.1, "kl": 0.0}),
        (Crd, crd_written_out, {"beta": 1.0, "kl": 0.1}),
        (Crd, crd_written_out, {"beta": 0.5, "kl": 0.3, "reference_guidance": 4.5}),
    ],
)
def test_the_gradient_is_that_of_the_published_equations(
    tuner, written_out, options, eta, micro_batch, predicts
):
    model, task = ToyModel(), toy_task(STEPS, eta, predicts=predicts)
    one = started(tuner(samples=COPIES, noises=STEPS, reference="pretrained", **options), task, model)
    moved(model)
    how = {"guidance" if key == "reference_guidance" else key: value for key, value in options.items()}
    loss = written_out(model, ToyModel(), ToyModel(shake=0.0), task, **how)
    expected = torch.autograd.grad(loss, model.parameters())
    found, log = update(model, task, one, micro_batch)
    assert relative_gap(found, expected) < 1e-7  # 1e-8 is added to the deviation
    assert log.loss == pytest.approx(loss.item(), rel=1e-7)
    assert log.reward == pytest.approx(images_of(ToyModel(), task)[1].mean().item(), rel=1e-9)


@pytest.mark.parametrize("make", [lambda: Nft(samples=COPIES), lambda: Crd(samples=COPIES)])
def test_where_all_rewards_are_equal_nothing_moves(make):
    model = ToyModel()
    begun = [value.clone() for value in model.parameters()]
    task = toy_task(STEPS, reward=lambda images, prompts: torch.full((len(images),), 0.3))
    tuner = started(make(), task, model)
    for number in range(3):
        gradients, _ = update(model, task, tuner, draws=DoubleDraws((number,), range(8)))
        with torch.no_grad():
            for value, gradient in zip(model.parameters(), gradients, strict=True):
                value.sub_(10.0 * gradient)
        tuner.after_update(model)
    for value, before in zip(model.parameters(), begun, strict=True):
        torch.testing.assert_close(value.detach(), before.detach(), rtol=0, atol=1e-11)
    # Away from the old policy there is a gradient, and it leads back.
    with torch.no_grad():
        model.parameters()[0].add_(0.05)
    gradients, _ = update(model, task, tuner)
    assert gradients[0].sum() > 1e-4
    # With rewards that differ, it moves.
    task = replace(task, reward=colourful)
    gradients, _ = update(ToyModel(), task, started(make(), task, ToyModel()))
    assert max(gradient.abs().max() for gradient in gradients) > 1e-4


@pytest.mark.parametrize("predicts", ["noise", "flow"])
@pytest.mark.parametrize("make", [Nft, Crd])
def test_training_moves_a_denoiser_toward_the_better_images(make, predicts):
    task = toy_task(STEPS, 0.0, 1.0, linear_reward, predicts)
    model = Gaussian(task.sampler)
    tuner, begun = started(make(samples=COPIES, noises=STEPS, kl=0.0), task, model), model.moments()[0]
    optimizer = torch.optim.Adam(model.parameters(), lr=0.03)
    for number in range(5):
        gradients, _ = update(model, task, tuner, draws=DoubleDraws((number,), range(8)))
        for value, gradient in zip(model.parameters(), gradients, strict=True):
            value.grad = gradient
        optimizer.step()
        tuner.after_update(model)
    assert (model.moments()[0] - begun) @ W > 0.05


def test_optimality_is_half_where_a_prompts_rewards_are_equal():
    rewards = torch.tensor([[1.0, 0.1, 5.0], [3.0, 0.1, 5.0], [2.0, 0.1, -1.0]])
    q = optimality(rewards, rewards)
    deviation = rewards.std(correction=0).item()
    assert q[:, 0].tolist() == pytest.approx([0.5 - 0.1 / deviation, 0.5 + 0.1 / deviation, 0.5])
    assert q[:, 1].tolist() == [0.5, 0.5, 0.5]  # to the bit, although the mean of three 0.1 is rounded
    assert q.min() >= 0


def test_the_scale_of_an_error_has_no_gradient():
    found = torch.tensor([[[[1.0, 3.0]]]], requires_grad=True)
    error = scaled_error(found, torch.zeros(1, 1, 1, 2))
    assert error.item() == pytest.approx((1 + 9) / 2 / 2)
    assert torch.autograd.grad(error.sum(), found)[0].flatten().tolist() == pytest.approx([0.5, 1.5])


def test_a_moving_average_follows_the_model():
    model = ToyModel()
    average = MovingAverage(model, (1, 0.25, 0.5, 0.6))
    expected = model.joined()["W"]
    for decay in (0.25, 0.6, 0.6):  # 0.25 at update 1; 0.25 + 0.5 is more than 0.6
        moved(model, 0.1)
        average.follow(model)
        expected = decay * expected + (1 - decay) * model.joined()["W"]
        torch.testing.assert_close(average.lora["W"], expected)
    with torch.no_grad(), average.loaded(model):
        x = DRAWS.normal("x", shape=SHAPE)
        found = model.predict(x, 1, PROMPTS, 1.0)
    other = ToyModel()
    with torch.no_grad():
        for name, value in other.trained.items():
            value.copy_(average.lora[name])
    torch.testing.assert_close(found, other.predict(x, 1, PROMPTS, 1.0).detach())


def test_a_moving_average_takes_a_model_of_another_rank_as_it_is():
    """As after a method merged adapters: the factors of both ranks have no average."""
    model = ToyModel()
    average = MovingAverage(model, (0, 0.9, 0.0, 0.9))
    model.joined = lambda: {"W": torch.ones(5, 5, dtype=torch.float64)}
    average.follow(model)
    assert average.lora["W"].shape == (5, 5)
    model.joined = lambda: {"W": torch.zeros(5, 5, dtype=torch.float64)}
    average.follow(model)
    assert average.lora["W"].unique().tolist() == pytest.approx([0.9])


@pytest.mark.parametrize("make", [Nft, Crd])
def test_the_old_policies_stay_while_their_images_are_used(make):
    """Three updates learn from the same images, and are compared with the policy that sampled them."""
    model, task = ToyModel(), toy_task(STEPS)
    tuner = started(make(samples=COPIES, noises=1, reuse=3, decay=[0, 0.0, 0.0, 0.0]), task, model)
    for _ in range(2):
        before = [average.lora["W"].clone() for average in tuner.averages()]
        for k in range(3):
            assert all(torch.equal(a.lora["W"], b) for a, b in zip(tuner.averages(), before, strict=True)), k
            update(model, task, tuner)
            moved(model)
            tuner.after_update(model)
        torch.testing.assert_close(tuner.averages()[0].lora["W"], model.joined()["W"].detach())


@pytest.mark.parametrize("make", [Nft, Crd])
def test_the_old_policy_samples_the_images(make):
    model, task = ToyModel(), toy_task(STEPS)
    tuner = started(make(samples=COPIES, noises=1, decay=[0, 1.0, 0.0, 1.0]), task, model)
    moved(model)
    tuner.after_update(model)
    _, log = update(model, task, tuner)
    assert log.reward == pytest.approx(images_of(ToyModel(), task)[1].mean().item(), rel=1e-9)
    follows = started(make(samples=COPIES, noises=1, decay=[0, 0.0, 0.0, 0.0]), task, ToyModel())
    follows.after_update(model)
    _, log = update(model, task, follows)
    assert log.reward == pytest.approx(images_of(moved(ToyModel()), task)[1].mean().item(), rel=1e-9)
