"""Tuners that need no gradient of the reward, compared with closed forms and plain autograd."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch

from ril_bench.diffusion.flow import Flow
from ril_bench.errors import UserError
from ril_bench.tuners.crd import Crd
from ril_bench.tuners.ddpo import Ddpo, clipped_loss
from ril_bench.tuners.dpo import Dpo
from ril_bench.tuners.nets import ValueNet, seeded
from ril_bench.tuners.nft import Nft
from ril_bench.tuners.pairs import pair_loss
from ril_bench.tuners.samples import advantages
from ril_bench.tuners.sft import Sft
from ril_bench.tuners.spin import Spin
from tests.toy import (
    DRAWS,
    PROMPTS,
    SHAPE,
    DoubleDraws,
    ToyModel,
    levels,
    relative_gap,
    taken,
    toy_task,
    update,
)

STEPS = 4


def sampled(model, task, draws):
    """A rollout of the model as it is now: the latents of all steps, and the noises."""
    ddim, x = task.sampler, [draws.normal("init", shape=SHAPE)]
    eps = []
    with torch.no_grad():
        for i, t in enumerate(ddim.timesteps):
            eps.append(model.predict(x[-1], t, PROMPTS, task.guidance))
            x.append(ddim.a[i] * x[-1] + ddim.b[i] * eps[-1])
            if ddim.eta:
                x[-1] = x[-1] + ddim.sigma[i] * draws.normal("step", i, shape=SHAPE)
    return x, eps


def copies(model, task, n):
    """x_0 (n, 8, C, h, w) and rewards (n, 8) of copies of the eight samples."""
    x0 = torch.stack([sampled(model, task, DRAWS.copy(j))[0][-1] for j in range(n)])
    return x0, torch.stack([task.reward(torch.sigmoid(one), PROMPTS) for one in x0])


def noised(task, x0, i):
    """x0 with the noise of step i, and what the denoiser should predict there."""
    (clean, noisy), noise = levels(task.sampler, i), DRAWS.normal("noise", i, shape=SHAPE)
    return clean * x0 + noisy * noise, noise - x0 if isinstance(task.sampler, Flow) else noise


def other_model():
    """The pretrained toy with another adapter: a reference that differs from the trained model."""
    model = ToyModel(shake=0.0)
    with torch.no_grad():
        for value in model.trained.values():
            value.add_(0.05)
    return model


@contextmanager
def shaken(model, by=0.02) -> Iterator[None]:
    """The model after some updates."""
    with torch.no_grad():
        for value in model.trained.values():
            value.add_(by)
    yield
    with torch.no_grad():
        for value in model.trained.values():
            value.sub_(by)


def started(tuner, task, model):
    tuner.start_task(task, model)
    return tuner


# -- SFT -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("micro_batch", "predicts"), [(8, "noise"), (2, "flow")])
def test_sft_learns_the_best_of_its_own_images(micro_batch, predicts):
    model, task = ToyModel(), toy_task(STEPS, predicts=predicts)
    x0, rewards = copies(model, task, 3)
    best = torch.stack([x0[rewards[:, n].argmax(), n] for n in range(8)])
    loss = torch.zeros(())
    for i in range(STEPS):
        x, target = noised(task, best, i)
        out = model.predict(x, task.sampler.timesteps[i], PROMPTS, 1.0)
        loss = loss + (out - target).square().mean() / STEPS
    expected = torch.autograd.grad(loss, model.parameters())
    tuner = started(Sft(samples=3, noises=STEPS), task, model)
    found, log = update(model, task, tuner, micro_batch)
    assert relative_gap(found, expected) < 1e-10
    assert log.loss == pytest.approx(loss.item(), rel=1e-10)
    assert log.reward == pytest.approx(rewards.mean().item(), rel=1e-6)


class Album:
    """An image set: for each sample a grey image and its prompt."""

    def of(self, prompts, draws):
        greys = torch.tensor([(sample + 1) / 10 for sample in draws.samples], dtype=torch.float64)
        return greys[:, None, None, None].expand(-1, *SHAPE), [f"{sample}" for sample in draws.samples]


@pytest.fixture
def album(monkeypatch):
    for tuner in ("sft", "spin"):
        monkeypatch.setattr(f"ril_bench.tuners.{tuner}.load_images", lambda reference, size, reward: Album())
    return Album()


def test_sft_learns_given_images(album):
    model, task = ToyModel(), toy_task(STEPS)
    images, prompts = album.of(PROMPTS, DRAWS)
    loss = torch.zeros(())
    for i in range(STEPS):
        x, noise = noised(task, torch.logit(images, 1e-6), i)
        eps = model.predict(x, task.sampler.timesteps[i], prompts, 1.0)
        loss = loss + (eps - noise).square().mean() / STEPS
    expected = torch.autograd.grad(loss, model.parameters())
    tuner = started(Sft(images="shapes/aesthetic", noises=STEPS), task, model)
    assert tuner.needs == {"images"}
    model.counter.clear()
    found, log = update(model, task, tuner, 4)
    assert relative_gap(found, expected) < 1e-10
    assert log.reward == pytest.approx(task.reward(images, prompts).mean().item())
    assert model.counter == {("denoiser", True): 8 * STEPS}  # nothing is sampled


@pytest.mark.parametrize("tuner", [Sft, Spin])
def test_an_image_set_that_does_not_exist_is_reported_at_once(tuner, tmp_path):
    with pytest.raises(UserError, match="no image set is called 'shapes/aestetic'") as caught:
        tuner(images="shapes/aestetic")
    assert "did you mean 'shapes/aesthetic'" in str(caught.value)
    with pytest.raises(UserError, match="no image set"):
        tuner(images=str(tmp_path))


# -- DPO and SPIN --------------------------------------------------------------------------------------------


def test_the_pair_loss_is_its_closed_form():
    ours = torch.tensor([0.2, 0.5, 0.3, 0.1], dtype=torch.float64, requires_grad=True)
    theirs = torch.tensor([0.1, 0.4, 0.4, 0.1], dtype=torch.float64)
    loss = pair_loss(ours, theirs, beta=4.0)
    # winners 0.2, 0.5; losers 0.3, 0.1; margins (-0.1) - (-0.3) = 0.2 and 0.4 - 0.3 = 0.1
    expected = [math.log(1 + math.exp(2 * margin)) for margin in (0.2, 0.1)]
    assert loss.tolist() == pytest.approx(expected)
    (slope,) = torch.autograd.grad(loss.sum(), ours)
    pull = [2 / (1 + math.exp(-2 * margin)) for margin in (0.2, 0.1)]
    assert slope.tolist() == pytest.approx([pull[0], pull[1], -pull[0], -pull[1]])


def by_hand(model, reference, winners, losers, prompts, task, beta, weights=None):
    loss = torch.zeros(())
    for i, t in enumerate(task.sampler.timesteps):
        errors = {}
        for who, one in (("ours", model), ("theirs", reference)):
            for what, x0 in (("w", winners), ("l", losers)):
                x, target = noised(task, x0, i)
                errors[who, what] = (one.predict(x, t, prompts, 1.0) - target).square().mean((1, 2, 3))
        ours, theirs = (errors[who, "w"] - errors[who, "l"] for who in ("ours", "theirs"))
        losses = torch.log(1 + torch.exp(beta / 2 * (ours - theirs.detach())))
        loss = loss + (losses if weights is None else weights * losses).mean() / STEPS
    return loss, torch.autograd.grad(loss, model.parameters())


@pytest.mark.parametrize("reference", ["previous", "pretrained"])
@pytest.mark.parametrize(("micro_batch", "predicts"), [(8, "noise"), (2, "flow")])
def test_dpo_on_its_own_ranked_images(reference, micro_batch, predicts):
    model, task = ToyModel(), toy_task(STEPS, predicts=predicts)
    tuner = started(Dpo(beta=7.0, samples=3, noises=STEPS, reference=reference), task, model)
    began = ToyModel() if reference == "previous" else ToyModel(shake=0.0)
    with shaken(model):
        x0, rewards = copies(model, task, 3)
        winners = torch.stack([x0[rewards[:, n].argmax(), n] for n in range(8)])
        losers = torch.stack([x0[rewards[:, n].argmin(), n] for n in range(8)])
        loss, expected = by_hand(model, began, winners, losers, PROMPTS, task, 7.0)
        found, log = update(model, task, tuner, micro_batch)
    assert relative_gap(found, expected) < 1e-10
    assert log.loss == pytest.approx(loss.item(), rel=1e-10)
    assert log.reward == pytest.approx(rewards.mean().item(), rel=1e-6)


def test_dpo_begins_at_log_two_and_a_tie_teaches_nothing():
    model = ToyModel()
    task = toy_task(STEPS)
    _, log = update(model, task, started(Dpo(), task, model))
    assert log.loss == pytest.approx(math.log(2), rel=1e-6)
    task = toy_task(STEPS, reward=lambda images, prompts: torch.ones(len(images)))
    gradients, log = update(model, task, started(Dpo(), task, model))
    assert all(not gradient.any() for gradient in gradients)
    assert log.loss == 0


@pytest.mark.parametrize("micro_batch", [8, 2])
def test_spin_sets_given_images_against_the_opponents(album, micro_batch):
    model, task = ToyModel(), toy_task(STEPS)
    tuner = started(Spin(images="shapes/aesthetic", betas=[5.0], noises=STEPS), task, model)
    opponent = ToyModel()
    images, prompts = album.of(PROMPTS, DRAWS)

    ddim, losers = task.sampler, DRAWS.normal("init", shape=SHAPE)
    with torch.no_grad():
        for i, t in enumerate(ddim.timesteps):
            eps = opponent.predict(losers, t, prompts, task.guidance)
            losers = ddim.step(losers, eps, i, DRAWS.normal("step", i, shape=SHAPE))
    with shaken(model):
        winners = torch.logit(images, 1e-6)
        loss, expected = by_hand(model, opponent, winners, losers, prompts, task, 5.0)
        found, log = update(model, task, tuner, micro_batch)
    assert relative_gap(found, expected) < 1e-10
    assert log.loss == pytest.approx(loss.item(), rel=1e-10)
    assert log.reward == pytest.approx(task.reward(torch.sigmoid(losers), prompts).mean().item())


def test_spin_replaces_its_opponent_after_an_iteration(album):
    model, task = ToyModel(), toy_task(STEPS)
    tuner = started(Spin(images="shapes/aesthetic", iteration=2), task, model)
    first, betas = tuner._opponent.lora, []
    with shaken(model):
        for _ in range(5):
            betas.append(tuner._beta)
            tuner.after_update(model)
        second = tuner._opponent.lora
        assert torch.equal(second["W"], model.trained["W"])
    assert not torch.equal(first["W"], second["W"])
    assert betas == [2000.0, 2000.0, 5000.0, 5000.0, 5000.0]


# -- DDPO ----------------------------------------------------------------------------------------------------


def reinforce(model, task, n):
    """The gradient of -mean A log p, averaged over latent dimensions, on the model's own samples."""
    ddim, rewards, log_p = task.sampler, [], []
    for j in range(n):
        x, _ = sampled(model, task, DRAWS.copy(j))
        rewards.append(task.reward(torch.sigmoid(x[-1]), PROMPTS))
        terms = []
        for i, t in enumerate(ddim.timesteps):
            mean = ddim.a[i] * x[i] + ddim.b[i] * model.predict(x[i], t, PROMPTS, task.guidance)
            density = torch.distributions.Normal(mean, ddim.sigma[i])
            terms.append(density.log_prob(x[i + 1]).mean((1, 2, 3)))
        log_p.append(torch.stack(terms))
    rewards = torch.stack(rewards)
    normalised = (rewards - rewards.mean(0)) / rewards.std(0, correction=0)
    loss = -(normalised[:, None] * torch.stack(log_p)).mean()
    return torch.autograd.grad(loss, model.parameters()), rewards


@pytest.mark.parametrize(
    ("eta", "micro_batch", "predicts"), [(1.0, 8, "noise"), (0.5, 2, "noise"), (0.7, 4, "flow")]
)
def test_the_first_gradient_of_ddpo_is_that_of_reinforce(eta, micro_batch, predicts):
    model, task = ToyModel(), toy_task(STEPS, eta, predicts=predicts)
    expected, rewards = reinforce(model, task, 3)
    tuner = started(Ddpo(samples=3), task, model)
    found, log = update(model, task, tuner, micro_batch)
    assert relative_gap(found, expected) < 1e-6  # Ddpo adds 1e-8 to the standard deviation
    assert log.reward == pytest.approx(rewards.mean().item(), rel=1e-6)
    assert log.loss == pytest.approx(0, abs=1e-7)  # every ratio is 1, and advantages add up to 0


def test_the_ratio_is_one_where_images_are_new_and_the_clip_holds_where_they_are_not(monkeypatch):
    ratios = []

    def watched(advantage, ratio, clip):
        ratios[-1].append(ratio.detach())
        return clipped_loss(advantage, ratio, clip)

    monkeypatch.setattr("ril_bench.tuners.ddpo.clipped_loss", watched)
    model, task = ToyModel(), toy_task(STEPS)
    tuner = started(Ddpo(samples=2, reuse=2), task, model)
    for shake, number in ((0.0, 0), (0.02, 1), (0.02, 2)):
        ratios.append([])
        with shaken(model, shake):
            update(model, task, tuner, 4, draws=DoubleDraws((number,), range(8)))
            tuner.after_update(model)
    new, again, new_again = (torch.cat(one) for one in ratios)
    assert (new - 1).abs().max() < 1e-12
    assert (again - 1).abs().max() > 1e-3
    assert (new_again - 1).abs().max() < 1e-12
    model.counter.clear()
    update(model, task, tuner, 8)  # with other micro-batches the same images are used again
    assert model.counter["denoiser", False] == 0
    tuner.after_update(model)
    update(model, task, tuner, 8)  # now the images were used twice, so new ones are sampled
    assert model.counter["denoiser", False] == 2 * STEPS * 8


def test_the_clipped_loss_is_ppos():
    advantage = torch.tensor([1.0, 1.0, -1.0, -1.0])
    ratio = torch.tensor([1.5, 0.5, 1.5, 0.5], requires_grad=True)
    loss = clipped_loss(advantage, ratio, 0.2)
    assert loss.tolist() == pytest.approx([-1.2, -0.5, 1.5, 0.8])
    assert torch.autograd.grad(loss.sum(), ratio)[0].tolist() == [0.0, -1.0, 1.0, 0.0]


def test_advantages_are_of_a_prompt_and_clipped():
    rewards = torch.tensor([[1.0, 5.0, 0.0], [3.0, 5.0, 0.0], [2.0, 5.0, 0.0]])
    assert advantages(rewards)[:, 0].tolist() == pytest.approx([-math.sqrt(1.5), math.sqrt(1.5), 0.0])
    assert not advantages(rewards)[:, 1:].any()
    one_high = torch.zeros(50, 1)
    one_high[0] = 1.0
    assert advantages(one_high).max() == 5.0


def test_dpok_adds_a_value_net_and_a_prior():
    model, task = ToyModel(), toy_task(STEPS)
    plain = started(Ddpo(samples=2), task, model)
    dpok = started(Ddpo(samples=2, value=True, kappa=3.0, reference="pretrained"), task, model)
    without, _ = update(model, task, plain)
    found, _ = update(model, task, dpok)
    expected = [torch.zeros_like(value) for value in model.parameters()]
    prior = ToyModel(shake=0.0)
    for j in range(2):
        x, _ = sampled(model, task, DRAWS.copy(j))
        for i, t in enumerate(task.sampler.timesteps):
            gap = model.predict(x[i], t, PROMPTS, 3.0) - prior.predict(x[i], t, PROMPTS, 3.0).detach()
            loss = 3.0 * gap.square().mean() / (2 * STEPS)
            for total, part in zip(expected, torch.autograd.grad(loss, model.parameters()), strict=True):
                total += part
    difference = [a - b for a, b in zip(found, without, strict=True)]
    assert (
        relative_gap(difference, expected) < 1e-6
    )  # the value network is zero at first, and subtracts nothing
    values = list(dpok.parameters())
    # The bias moves toward the mean advantage, 0; the last weights move toward the differences of advantages.
    gradients = taken(values)
    assert gradients[-2].abs().max() > 0
    assert all(not gradient.any() for gradient in gradients[:-2])
    with torch.no_grad():
        values[-1].add_(0.25)
    update(model, task, dpok)
    assert taken(values)[-1].item() == pytest.approx(2 * 0.25, rel=1e-5)  # the gradient of mean (V - A)^2


@pytest.mark.parametrize(
    "make",
    [
        lambda: Dpo(beta=50.0),
        lambda: Ddpo(samples=2, reuse=3, value=True, kappa=1.0),
        lambda: Ddpo(samples=2, reuse=3, window=1, std="batch", kl=0.1),
        lambda: Nft(samples=2, reuse=2),
        lambda: Crd(samples=2),
        lambda: Spin(images="shapes/aesthetic", iteration=2),
    ],
)
def test_a_resume_goes_on_as_if_nothing_had_been(make, album):
    """Loads a checkpoint into a new tuner, which was started on the current model."""
    from ril_bench.storage.checkpoint import pack, unpack

    model, task = ToyModel(), toy_task(STEPS)
    tuner = started(make(), task, model)
    draws = [DoubleDraws((number,), range(8)) for number in range(2)]
    update(model, task, tuner, draws=draws[0])
    taken(tuner.parameters())
    tuner.after_update(model)
    with shaken(model):
        resumed = started(make(), replace(task), model)
        resumed.load_state_dict(unpack(pack(tuner.state_dict())))
        straight, _ = update(model, task, tuner, draws=draws[1])
        again, _ = update(model, task, resumed, draws=draws[1])
        own = [taken(one.parameters()) for one in (tuner, resumed)]
        fresh, _ = update(model, task, started(make(), task, model), draws=draws[1])
    assert all(torch.equal(a, b) for a, b in zip(straight, again, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(*own, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(straight, fresh, strict=True))


def test_a_tuners_net_is_drawn_from_the_tasks_key(tiny_model):
    def net(*key):
        with seeded(*key):
            return torch.cat([value.flatten() for value in ValueNet(tiny_model, 8).parameters()])

    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    assert torch.equal(net(1, "value"), net(1, "value"))
    assert not torch.equal(net(1, "value"), net(2, "value"))
    assert torch.equal(torch.random.get_rng_state(), before)
