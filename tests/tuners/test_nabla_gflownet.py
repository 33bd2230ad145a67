"""nabla-GFlowNet, compared with a Gaussian case solved by hand and with autograd."""

import pytest
import torch
from torch import nn
from torch.distributions import Normal

from ril_bench.draws import Draws
from ril_bench.storage.checkpoint import pack, unpack
from ril_bench.tuners.base import MicroBatch
from ril_bench.tuners.nabla_gflownet import NablaGflownet, forward_score, log_transition, noising_scores
from ril_bench.tuners.nets import FlowNet, seeded
from ril_bench.tuners.rollouts import Trajectory
from tests.gaussian import Gaussian, W, linear_reward
from tests.pipelines import LATENT
from tests.tiny import PROMPTS as TINY_PROMPTS
from tests.tiny import reward_task
from tests.toy import (
    ALPHAS_CUMPROD,
    DRAWS,
    PROMPTS,
    SHAPE,
    ToyModel,
    implied,
    levels,
    relative_gap,
    taken,
    toy_task,
    update,
)

STEPS = 6


class ToyFlow(nn.Module):
    """h(x, t, c) = A x + (1 + t / 1000) b."""

    def __init__(self, *_):
        super().__init__()
        rng = torch.Generator().manual_seed(5)
        self.A = nn.Parameter(torch.randn(3, 3, generator=rng, dtype=torch.float64))
        self.b = nn.Parameter(torch.randn(3, generator=rng, dtype=torch.float64))

    def forward(self, x, t, text):
        return torch.einsum("dc,nchw->ndhw", self.A, x) + (1 + t / 1000) * self.b[:, None, None]


@pytest.fixture(autouse=True)
def toy_flow(request, monkeypatch):
    if "tiny_model" not in request.fixturenames:
        monkeypatch.setattr("ril_bench.tuners.nabla_gflownet.FlowNet", ToyFlow)


def started(tuner, task, model):
    tuner.start_task(task, model)
    return tuner


# -- scores --------------------------------------------------------------------------------------------------


def test_the_scores_are_those_of_the_densities():
    ddim, rng = toy_task(STEPS).sampler, torch.Generator().manual_seed(0)
    x, after, eps = (torch.randn(2, *SHAPE, generator=rng, dtype=torch.float64) for _ in range(3))
    for i in range(STEPS):
        met, reached = x.clone().requires_grad_(), after.clone().requires_grad_()
        noise = torch.tanh(met) * eps
        density = Normal(ddim.a[i] * met + ddim.b[i] * noise, ddim.sigma[i]).log_prob(reached).sum()
        by_x, by_after = torch.autograd.grad(density, (met, reached))
        torch.testing.assert_close(forward_score(ddim, i, x, after, noise.detach()), by_after)
        met = x.clone().requires_grad_()
        (slope,) = torch.autograd.grad(log_transition(ddim, i, met, after, torch.tanh(met) * eps), met)
        torch.testing.assert_close(slope, by_x)
        # the forward process, from alphas_cumprod alone
        bar_t = ALPHAS_CUMPROD[ddim.timesteps[i]]
        bar_s = ALPHAS_CUMPROD[ddim.timesteps[i + 1] if i + 1 < STEPS else 0]
        met, reached = x.clone().requires_grad_(), after.clone().requires_grad_()
        noising = Normal((bar_t / bar_s).sqrt() * reached, (1 - bar_t / bar_s).sqrt()).log_prob(met).sum()
        expected = torch.autograd.grad(noising, (reached, met))
        for a, b in zip(noising_scores(ddim, i, x, after), expected, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)


class SolvedFlow(nn.Module):
    """h for which g is the slope of the true flow."""

    def __init__(self, values):
        super().__init__()
        self.times = list(values)
        self.values = nn.ParameterList(nn.Parameter(value.double()) for value in values.values())

    def forward(self, x, t, text):
        return self.values[self.times.index(t)][:, None, None].expand_as(x)


@pytest.mark.parametrize("units", ["score", "noise"])
@pytest.mark.parametrize(
    ("gamma", "eta", "predicts"), [("abar", 1.0, "noise"), ("root", 0.6, "v"), ("abar", 0.6, "flow")]
)
def test_the_solution_of_a_gaussian_case_has_no_loss_and_no_gradient(gamma, eta, predicts, units):
    """With r = <w, x_0> and a linear chain, log E[exp(beta r) | x_i] = beta A_i <w, x_i> + const, A_i the product of
    the chain's slopes. So the tilted step is the step shifted by sigma^2 beta A_{i+1} w."""
    beta, task = 0.8, toy_task(STEPS, eta, 1.0, linear_reward, predicts)
    ddim, tuner = task.sampler, NablaGflownet(beta=beta, gamma=gamma, units=units, trust=0.0, segments=5)
    model = Gaussian(ddim)
    started(tuner, task, model)
    reach, values, shifts = 1.0, {0: 0 * W}, torch.zeros(STEPS, 3, dtype=torch.float64)
    for i in reversed(range(STEPS)):
        clean, noisy = levels(ddim, i)
        shifts[i] = ddim.sigma[i] ** 2 * beta * reach * W / ddim.b[i]
        reach *= ddim.a[i] + ddim.b[i] * model.slope(i)
        believed = clean**2 if gamma == "abar" else clean
        x0hat_slope = clean * model.variance / (clean**2 * model.variance + noisy**2)
        values[ddim.timesteps[i]] = beta * (reach - believed * x0hat_slope) * W
    tuner._net = SolvedFlow(values)
    _, before = update(model, task, tuner)
    assert before.loss > 1e-3
    taken(tuner.parameters())
    with torch.no_grad():
        model.trained["shift"].copy_(shifts)
    gradients, log = update(model, task, tuner)
    assert 0 <= log.loss < 1e-20
    assert max(gradient.abs().max() for gradient in [*gradients, *taken(tuner.parameters())]) < 1e-9
    with torch.no_grad():  # a change of the flow alone raises the loss
        tuner._net.values[-1].add_(0.1)
    assert update(model, task, tuner)[1].loss > 1e-6


# -- the equations -------------------------------------------------------------------------------------------


def written_out(model, reference, flow, task, options, chosen):
    """The loss, with every slope computed by autograd through a separate graph."""
    ddim, beta, last = task.sampler, options["beta"], STEPS - 1
    x = [DRAWS.copy(0).normal("init", shape=SHAPE)]
    with torch.no_grad():
        for i, t in enumerate(ddim.timesteps):
            eps = model.predict(x[-1], t, PROMPTS, task.guidance)
            noise = DRAWS.copy(0).normal("step", i, shape=SHAPE)
            x.append(ddim.a[i] * x[-1] + ddim.b[i] * eps + ddim.sigma[i] * noise)

    def reward_slope(i):
        met = x[i].clone().requires_grad_()
        x0, gamma = met, 1.0
        if i < STEPS:
            gamma = levels(ddim, i)[0] ** 2
            eps = model.predict(met, ddim.timesteps[i], PROMPTS, task.guidance)
            x0, _ = implied(ddim, met, eps, i)
        reward = task.reward(torch.sigmoid(x0), PROMPTS).sum()
        return beta * gamma * torch.autograd.grad(reward, met)[0]

    def densities(one, i):
        met, reached = x[i].clone().requires_grad_(), x[i + 1].clone().requires_grad_()
        mean = ddim.a[i] * met + ddim.b[i] * one.predict(met, ddim.timesteps[i], PROMPTS, task.guidance)
        density = Normal(mean, ddim.sigma[i]).log_prob(reached).sum()
        return torch.autograd.grad(density, (reached, met), create_graph=True)

    total = torch.zeros(())
    for i in chosen:
        S, B = densities(model, i)
        if options.get("residual", True):
            S_ref, B_ref = (options["prior"] * score.detach() for score in densities(reference, i))
        else:
            S_ref, B_ref = noising_scores(ddim, i, x[i], x[i + 1])
        h = flow(x[i + 1], ddim.timesteps[i + 1], None) if flow and i < last else 0
        weight = (ddim.sigma[i] ** 2 / ddim.b[i]) ** 2 if options.get("units") == "noise" else 1.0
        forward = (S - (S_ref + h + reward_slope(i + 1))).square().mean()
        total = total + weight * forward / len(chosen)
        if flow:
            g = flow(x[i], ddim.timesteps[i], None) + reward_slope(i)
            backward = (B.detach() - (B_ref - g)).square().mean()
            total = total + weight * options["backward"] * backward / len(chosen)
    if flow:
        total = total + weight * flow(x[-1], 0, None).square().mean()
    return total


@pytest.mark.parametrize(
    "options",
    [
        {"prior": 1.0},
        {"prior": 0.5, "reference": "pretrained"},
        {"residual": False, "prior": 1.0},
        {"prior": 1.0, "flow": False},
        {"residual": False, "flow": False, "prior": 1.0},
        {"prior": 1.0, "backward": 0.0},
        {"prior": 1.0, "units": "noise"},
    ],
    ids=str,
)
@pytest.mark.parametrize("micro_batch", [8, 2])
def test_the_gradient_is_that_of_the_equations(options, micro_batch):
    options = {"beta": 0.3, "backward": 0.7, **options}
    model, task = ToyModel(), toy_task(STEPS)
    reference = ToyModel(shake=0.0) if options.get("reference") == "pretrained" else ToyModel()
    tuner = started(NablaGflownet(segments=5, **options), task, model)
    with torch.no_grad():  # away from the reference
        for value in model.trained.values():
            value.add_(0.05)
    flow = ToyFlow() if options.get("flow", True) else None
    loss = written_out(model, reference, flow, task, options, range(STEPS))
    own = list(flow.parameters()) if flow else []
    expected = torch.autograd.grad(loss, [*model.parameters(), *own])
    found, log = update(model, task, tuner, micro_batch)
    assert relative_gap(found, expected[:2]) < 1e-9
    assert log.loss == pytest.approx(loss.item(), rel=1e-9)
    if own:
        assert relative_gap(taken(tuner.parameters()), expected[2:]) < 1e-9


def test_the_trust_region_holds_the_policy_to_the_one_that_sampled():
    model, task = ToyModel(), toy_task(STEPS)
    with_it, without = (
        started(NablaGflownet(beta=0.3, trust=trust, reuse=2, flow=False), task, model)
        for trust in (5.0, 0.0)
    )
    first, _ = update(model, task, with_it)
    assert relative_gap(first, update(model, task, without)[0]) < 1e-12  # eps is still eps_old
    stored = [with_it._buffer._stored[sample]["copies"][0] for sample in range(8)]
    path = Trajectory.of_samples(stored, model.device)
    for tuner in (with_it, without):
        tuner.after_update(model)
    with torch.no_grad():
        for value in model.trained.values():
            value.add_(0.02)
    loss = sum(
        5.0 * (model.predict(path.x[i], t, PROMPTS, 3.0) - path.outputs[i]).square().mean() / STEPS
        for i, t in enumerate(task.sampler.timesteps)
    )
    expected = torch.autograd.grad(loss, model.parameters())
    second, base = (update(model, task, tuner)[0] for tuner in (with_it, without))
    difference = [a - b for a, b in zip(second, base, strict=True)]
    assert relative_gap(difference, expected) < 1e-9


# -- the real networks -------------------------------------------------------------------------------------------


def nothing(images, prompts):
    return 0.0 * images.sum((1, 2, 3))


def test_without_a_reward_the_pretrained_model_stays_where_it_is(tiny_model):
    """A fresh adapter changes nothing, so the residual objective is exactly 0."""
    tiny_model.add_adapter("new", seed_key=("new",))
    tiny_model.activate({"new": 1.0}, train=["new"])
    task = toy_task(2, reward=nothing)
    tuner = started(NablaGflownet(), task, tiny_model)
    gradients, log = update(tiny_model, task, tuner)
    assert all(not gradient.any() for gradient in [*gradients, *taken(tuner.parameters())])
    assert log.loss == 0
    task = toy_task(2)  # with a reward, the gradient is not zero
    tuner = started(NablaGflownet(), task, tiny_model)
    gradients, log = update(tiny_model, task, tuner)
    assert log.loss > 0
    assert all(any(g.any() for g in side) for side in (gradients, taken(tuner.parameters())))


def test_the_flow_net_is_zero_at_first_and_can_leave_it(tiny_model):
    with seeded("flow"):
        flow = FlowNet(tiny_model, 8)
    x, text = torch.randn(2, *LATENT), tiny_model.embed(TINY_PROMPTS[:2])
    out = flow(x, 500, text)
    assert out.shape == x.shape
    assert not out.any()
    (out - 1).square().mean().backward()
    assert flow.unet.conv_out.weight.grad.any()
    with torch.no_grad():
        flow.unet.conv_out.weight.normal_(generator=torch.Generator().manual_seed(0))
    assert not torch.equal(flow(x, 500, text), flow(x, 100, text))
    other = tiny_model.embed(TINY_PROMPTS[2:])
    assert not torch.equal(flow(x, 500, text), flow(x, 500, other))


def test_an_update_counts_what_it_says(tiny_model):
    tiny_model.add_adapter("new", seed_key=("new",))
    tiny_model.activate({"new": 1.0}, train=["new"])
    task = reward_task(tiny_model)  # 3 steps, guided
    for options, to_latents, plain, slopes in (({}, 3 + 2 + 3, 3, 6), ({"flow": False}, 2, 3 + 3, 3)):
        tuner = started(NablaGflownet(**options), task, tiny_model)
        tiny_model.counter.clear()
        tuner.accumulate(tiny_model, task, MicroBatch(TINY_PROMPTS, Draws((0,), range(4))))
        assert tiny_model.counter == {
            ("denoiser", False, 8): plain,
            ("denoiser", True, 8): 3,
            ("denoiser to latents", True, 8): to_latents,
            ("decode", False, 4): 1,
            ("decode", True, 4): slopes,
            ("reward:brightness", False, 4): 1,
            ("reward:brightness", True, 4): slopes,
        }
    tiny_model.activate({})  # no graph is left open


def test_a_resume_goes_on_as_if_nothing_had_been():
    model, task = ToyModel(), toy_task(STEPS)
    options = {"beta": 0.3, "reuse": 2}
    tuner = started(NablaGflownet(**options), task, model)
    update(model, task, tuner)
    taken(tuner.parameters())
    with torch.no_grad():
        for value in [*model.trained.values(), *tuner.parameters()]:
            value.add_(0.02)
    resumed = started(NablaGflownet(**options), task, model)
    resumed.load_state_dict(unpack(pack(tuner.state_dict())))
    straight, again = (update(model, task, one) for one in (tuner, resumed))
    assert all(torch.equal(a, b) for a, b in zip(straight[0], again[0], strict=True))
    assert straight[1] == again[1]
    own = [taken(one.parameters()) for one in (tuner, resumed)]
    assert all(torch.equal(a, b) for a, b in zip(*own, strict=True))
