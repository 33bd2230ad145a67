import math

import pytest
import torch
from diffusers import DDIMScheduler

from ril_bench.diffusion.ddim import DDIM, SCHEDULE
from ril_bench.errors import UserError
from tests.toy import ALPHAS_CUMPROD


def reference_scheduler(model, steps):
    scheduler = DDIMScheduler.from_config(model.pipe.scheduler.config)
    scheduler.set_timesteps(steps)
    return scheduler


@pytest.mark.parametrize("steps", [1, 7, 20, 999])
@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0])
def test_every_step_is_diffusers(tiny_model, steps, eta):
    ddim = tiny_model.sampler(steps, eta)
    scheduler = reference_scheduler(tiny_model, steps)
    assert list(ddim.timesteps) == scheduler.timesteps.tolist()
    generator = torch.Generator().manual_seed(steps)
    x, eps, noise = (torch.randn(1, 2, 4, 4, generator=generator) for _ in range(3))
    for i, t in enumerate(ddim.timesteps):
        theirs = scheduler.step(eps, t, x, eta=eta, variance_noise=noise)
        torch.testing.assert_close(ddim.x0hat(x, eps, i), theirs.pred_original_sample, rtol=1e-5, atol=1e-5)
        # In diffusers' fp32 tables nearly equal terms cancel, so 999 steps need a larger tolerance.
        atol = 1e-5 if steps < 999 else 3e-4
        torch.testing.assert_close(ddim.step(x, eps, i, noise), theirs.prev_sample, rtol=1e-5, atol=atol)


def test_the_alphas_are_the_schedulers(tiny_model):
    reference = tiny_model.pipe.scheduler.alphas_cumprod
    torch.testing.assert_close(
        tiny_model.sampler(7, 0.0).alphas_cumprod, reference.double(), rtol=1e-5, atol=0
    )


@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0])
def test_a_step_of_a_velocity_is_the_step_of_the_noise_that_it_implies(eta):
    """v = sqrt(abar) n - sqrt(1 - abar) x_0, so the two kinds of model have the same steps in float64."""
    noise_model, velocity_model = (DDIM(ALPHAS_CUMPROD, 6, eta, kind) for kind in ("epsilon", "v_prediction"))
    rng = torch.Generator().manual_seed(0)
    x0, n, fresh = torch.randn(3, 1, 2, 4, 4, generator=rng, dtype=torch.float64)
    for i, t in enumerate(noise_model.timesteps):
        bar = ALPHAS_CUMPROD[t]
        x, v = bar.sqrt() * x0 + (1 - bar).sqrt() * n, bar.sqrt() * n - (1 - bar).sqrt() * x0
        torch.testing.assert_close(velocity_model.noised(x0, n, i), x)
        torch.testing.assert_close(velocity_model.target(x0, n, i), v)
        torch.testing.assert_close(velocity_model.x0hat(x, v, i), x0)
        torch.testing.assert_close(velocity_model.noise(x, v, i), n)
        expected = noise_model.step(x, n, i, fresh)
        torch.testing.assert_close(velocity_model.step(x, v, i, fresh), expected)


def test_the_output_of_a_noise_model_is_the_noise_to_the_bit(tiny_model):
    sampler, rng = tiny_model.sampler(10, 1.0), torch.Generator().manual_seed(0)
    x, x0, out = torch.randn(3, 1, 4, 4, 4, generator=rng)
    for i in range(10):
        assert torch.equal(sampler.noise(x, out, i), out)
        assert torch.equal(sampler.target(x0, out, i), out)


def test_x0hat_inverts_the_forward_process(tiny_model):
    ddim = tiny_model.sampler(10, 0.0)
    generator = torch.Generator().manual_seed(0)
    x0, eps = torch.randn(2, 1, 4, 4, 4, generator=generator)
    for i, t in enumerate(ddim.timesteps):
        x = tiny_model.pipe.scheduler.add_noise(x0, eps, torch.tensor([t]))
        torch.testing.assert_close(ddim.x0hat(x, eps, i), x0, rtol=1e-4, atol=1e-4)


def test_a_step_with_eta_1_has_the_variance_of_the_posterior(tiny_model):
    # q(x_s | x_t, x_0): beta~ = (1 - abar_s) / (1 - abar_t) (1 - abar_t / abar_s); never 0.
    ddim = tiny_model.sampler(20, 1.0)
    bars = [float(ddim.alphas_cumprod[t]) for t in ddim.timesteps] + [float(ddim.alphas_cumprod[0])]
    for bar_t, bar_s, sigma in zip(bars[:-1], bars[1:], ddim.sigma, strict=True):
        assert sigma == pytest.approx(math.sqrt((1 - bar_s) / (1 - bar_t) * (1 - bar_t / bar_s)))
        assert sigma > 0


@pytest.mark.parametrize("key", SCHEDULE)
def test_other_schedules_are_refused(tiny_model, key):
    other = {"timestep_spacing": "trailing", "steps_offset": 0}
    config = {**tiny_model.pipe.scheduler.config, key: other.get(key, True)}
    tiny_model.pipe.scheduler = DDIMScheduler.from_config(config)
    with pytest.raises(UserError, match=key) as error:
        tiny_model.sampler(20, 1.0)
    assert f"{key}: {SCHEDULE[key]}" in error.value.hint


def test_all_faults_of_a_schedule_at_once(tiny_model):
    tiny_model.pipe.scheduler = DDIMScheduler()  # diffusers' own defaults
    with pytest.raises(UserError) as error:
        tiny_model.sampler(20, 1.0)
    assert all(key in str(error.value) for key in ("clip_sample", "set_alpha_to_one", "steps_offset"))


@pytest.mark.parametrize("steps", [0, -1, 1000, 1001])
def test_steps_that_do_not_fit(tiny_model, steps):
    with pytest.raises(UserError, match="steps"):
        tiny_model.sampler(steps, 0.0)


@pytest.mark.parametrize("eta", [-0.1, 1.1, math.nan])
def test_eta_out_of_range(tiny_model, eta):
    with pytest.raises(UserError, match="eta"):
        tiny_model.sampler(20, eta)
