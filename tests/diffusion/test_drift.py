"""Drift against Gaussian chains in closed form."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from ril_bench.diffusion.ddim import DDIM
from ril_bench.diffusion.drift import path_kl, step_kl
from ril_bench.diffusion.sampler import sample
from ril_bench.draws import Draws
from tests.toy import ALPHAS_CUMPROD, SAMPLERS, SHAPE, DoubleDraws, ToyModel

PROMPTS = ["a red circle", "a large blue star"]
SIZE = math.prod(SHAPE)


class Linear(ToyModel):
    """out(x, t, c) = slope x + shift c: all states of its chain are Gaussian. The weights are those of the adapter."""

    def output(self, x, t, lengths, weights):
        slope, shift = weights["W"][0, 0], weights["v"][0]
        return slope * x + shift * lengths[:, None, None, None]

    def load(self, slope, shift):
        for name, value in (("W", slope), ("v", shift)):
            with torch.no_grad():
                self.trained[name].copy_(value - self.frozen[name])


def gaussian_kl(m, S, m_other, S_other):
    """KL(N(m, S) || N(m_other, S_other)) in nats."""
    inverse = np.linalg.inv(S_other)
    gap = m_other - m
    return 0.5 * (
        np.trace(inverse @ S)
        - len(m)
        + gap @ inverse @ gap
        + np.linalg.slogdet(S_other)[1]
        - np.linalg.slogdet(S)[1]
    )


def chain(ddim, slope, shift):
    """Mean and covariance of one pixel's whole path (x_T, ..., x_0), by the recursion of the states."""
    steps = ddim.steps
    mean, cov = np.zeros(steps + 1), np.zeros((steps + 1, steps + 1))
    cov[0, 0] = 1.0
    for i in range(steps):
        k = ddim.a[i] + ddim.b[i] * slope
        mean[i + 1] = k * mean[i] + ddim.b[i] * shift
        cov[i + 1, : i + 1] = cov[: i + 1, i + 1] = k * cov[i, : i + 1]
        cov[i + 1, i + 1] = k**2 * cov[i, i] + ddim.sigma[i] ** 2
    return mean, cov


@pytest.mark.parametrize(
    ("eta", "guidance", "predicts"), [(1.0, 1.0, "noise"), (0.4, 3.0, "noise"), (0.6, 3.0, "flow")]
)
def test_drift_is_the_kl_of_two_gaussian_chains(eta, guidance, predicts):
    """The mean over rollouts estimates the KL of the joint Gaussians of all states."""
    model, ddim, n = Linear(), SAMPLERS[predicts](4, eta), 400
    length = 0.5  # ToyModel divides the length of a prompt by 25
    prompts = ["x" * round(25 * length)] * n
    length = len(prompts[0]) / 25
    own, other = (0.3, 0.2), (0.1, -0.1)
    rollout = []
    model.load(*own)
    draws = DoubleDraws((1,), range(n))
    with torch.no_grad():
        sample(model, ddim, prompts, draws, guidance=guidance, on_step=rollout.append)
    model.load(*other)
    found = path_kl(model, rollout)
    # guidance: uncond + g (cond - uncond) = slope x + g shift length
    paths = [chain(ddim, slope, guidance * shift * length) for slope, shift in (own, other)]
    expected = SIZE * gaussian_kl(*paths[0], *paths[1])
    assert found.shape == (n,)
    assert found.dtype == torch.float64
    se = float(found.std()) / math.sqrt(n)
    assert se < 0.02 * expected
    assert abs(float(found.mean()) - expected) < 4 * se


def test_a_shift_of_the_noise_has_the_same_drift_in_every_rollout():
    """With equal slopes the predictions differ by a constant, so no average is needed."""
    model, ddim = Linear(), DDIM(ALPHAS_CUMPROD, 5, 1.0)
    rollout = []
    model.load(0.2, 0.0)
    with torch.no_grad():
        sample(model, ddim, PROMPTS, DoubleDraws((0,), range(2)), guidance=1.0, on_step=rollout.append)
    model.load(0.2, 1.0)
    found = path_kl(model, rollout)
    for prompt, value in zip(PROMPTS, found.tolist(), strict=True):
        paths = [chain(ddim, 0.2, shift * len(prompt) / 25) for shift in (0.0, 1.0)]
        assert value == pytest.approx(SIZE * gaussian_kl(*paths[0], *paths[1]), rel=1e-9)


def test_each_step_has_the_kl_of_two_gaussians_of_one_variance():
    ddim = DDIM(ALPHAS_CUMPROD, 6, 0.7)
    rng = torch.Generator().manual_seed(0)
    eps, other = torch.randn(2, 3, 2, 2, 2, generator=rng, dtype=torch.float64)
    for i in range(ddim.steps):
        means = [ddim.b[i] * part.flatten(1).numpy() for part in (eps, other)]
        S = ddim.sigma[i] ** 2 * np.eye(8)
        expected = [gaussian_kl(a, S, b, S) for a, b in zip(*means, strict=True)]
        np.testing.assert_allclose(step_kl(ddim, eps, other, i), expected, rtol=1e-9)


@pytest.fixture
def shaken(tiny_model):
    tiny_model.add_adapter("a", seed_key=(0,))
    rng = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in tiny_model.adapter_parameters("a").values():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=rng))
    tiny_model.activate({"a": 1.0})
    return tiny_model


def test_drift_from_the_same_model_is_0_and_from_another_is_not(shaken):
    ddim, rollout = shaken.sampler(4, 1.0), []
    sample(shaken, ddim, PROMPTS, Draws((0,), range(2)), guidance=3.0, on_step=rollout.append)
    before = shaken.counter["denoiser", False, 4]
    assert path_kl(shaken, rollout).max() < 1e-6
    assert shaken.counter["denoiser", False, 4] == before + ddim.steps  # one guided call a step
    with shaken.folded({}):
        assert path_kl(shaken, rollout).min() > 1e-3


def test_a_part_of_the_samples_has_the_drift_of_the_whole(shaken):
    ddim, rollout = shaken.sampler(4, 1.0), []
    sample(shaken, ddim, PROMPTS, Draws((0,), range(2)), guidance=3.0, on_step=rollout.append)
    with shaken.folded({}):
        whole = path_kl(shaken, rollout)
        second = path_kl(shaken, [prediction.of_samples([1]) for prediction in rollout])
    torch.testing.assert_close(second, whole[1:], rtol=1e-3, atol=1e-6)
