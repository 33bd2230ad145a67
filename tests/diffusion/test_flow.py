import math
from itertools import pairwise

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from diffusers.pipelines.stable_diffusion_3.pipeline_stable_diffusion_3 import calculate_shift
from hypothesis import given
from hypothesis import strategies as st

from ril_bench.diffusion.flow import LAST_NOISE, Flow, dynamic_shift, flow_of
from ril_bench.diffusion.sampler import sample
from ril_bench.errors import UserError
from tests.gaussian import Gaussian
from tests.toy import PROMPTS, DoubleDraws

CONFIGS = {
    "plain": {},
    "shifted": {"shift": 3.0},
    "by resolution": {"use_dynamic_shifting": True},
    "linear in resolution": {
        "use_dynamic_shifting": True,
        "time_shift_type": "linear",
        "shift_terminal": 0.02,
    },
    "stretched": {"shift_terminal": 0.1},
    "Karras": {"use_karras_sigmas": True},
}


# -- the tables, against diffusers ---------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [1, 8, 50])
@pytest.mark.parametrize("config", CONFIGS)
def test_every_step_without_noise_is_diffusers(config, steps):
    scheduler = FlowMatchEulerDiscreteScheduler(**CONFIGS[config])
    if steps == 1 and scheduler.config.shift_terminal:
        with pytest.raises(UserError, match="1 sampling steps"):
            flow_of(scheduler.config, steps, 0.0, tokens=1024)
        return
    flow = flow_of(scheduler.config, steps, 0.0, tokens=1024)
    mu = calculate_shift(1024, 256, 4096, 0.5, 1.15) if scheduler.config.use_dynamic_shifting else None
    scheduler.set_timesteps(steps, mu=mu)
    assert flow.timesteps == pytest.approx(scheduler.timesteps.tolist(), rel=1e-6)
    x, v = torch.randn(2, 1, 2, 4, 4, generator=torch.Generator().manual_seed(steps))
    for i, t in enumerate(scheduler.timesteps):
        theirs = scheduler.step(v, t, x).prev_sample
        torch.testing.assert_close(flow.step(x, v, i, None), theirs, rtol=1e-6, atol=1e-6)
        assert flow.sigma[i] == 0


def test_noised_latents_are_diffusers():
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    flow = flow_of(scheduler.config, 7, 0.0, tokens=64)
    scheduler.set_timesteps(7)
    x0, n = torch.randn(2, 1, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    for i, t in enumerate(scheduler.timesteps):
        expected = scheduler.scale_noise(x0, t[None], n)
        torch.testing.assert_close(flow.noised(x0, n, i), expected, rtol=1e-6, atol=1e-6)


@given(tokens=st.integers(1, 10_000))
def test_the_shift_by_resolution_is_the_pipelines(tokens):
    config = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True).config
    assert dynamic_shift(config, tokens)["mu"] == pytest.approx(calculate_shift(tokens), rel=1e-12)


# -- the equations -------------------------------------------------------------------------------------------


def sigmas(steps, last=0.05):
    return torch.linspace(1, last, steps).double().tolist()


@given(eta=st.just(0.0) | st.floats(1e-6, 1), steps=st.integers(1, 12), seed=st.integers(0, 99))
def test_a_step_moves_along_the_path_and_renews_a_part_of_the_noise(eta, steps, seed):
    """From (1 - s) x0 + s n to (1 - s') x0 + c n + k n', where c^2 + k^2 = s'^2."""
    flow = Flow(sigmas(steps), eta)
    rng = torch.Generator().manual_seed(seed)
    x0, n, fresh = torch.randn(3, 1, 3, dtype=torch.float64, generator=rng)
    for i, (s, after) in enumerate(zip(sigmas(steps), [*sigmas(steps)[1:], 0.0], strict=True)):
        x, v, k = (1 - s) * x0 + s * n, n - x0, flow.sigma[i]
        torch.testing.assert_close(flow.x0hat(x, v, i), x0)
        torch.testing.assert_close(flow.noise(x, v, i), n)
        torch.testing.assert_close(flow.target(x0, n, i), v)
        c = math.sqrt(max(after**2 - k**2, 0.0)) if after else 0.0
        expected = (1 - after) * x0 + c * n + k * fresh
        torch.testing.assert_close(flow.step(x, v, i, fresh), expected, rtol=1e-7, atol=1e-7)
        assert (k > 0) == (eta > 0)
        if not after:
            assert k == eta * min(s, LAST_NOISE)
            assert (flow.signal[-1], flow.level[-1]) == (1.0, k)


def test_with_eta_1_the_noise_is_that_of_the_posterior():
    """x_s = (1 - s) x0 + s n comes from x_s' by a Gaussian step; Bayes' rule gives x_s' where x_s and x0 are known."""
    steps, x0 = sigmas(9), 0.4
    flow = Flow(steps, 1.0)
    for i, (s, after) in enumerate(pairwise(steps)):
        kept = (1 - s) / (1 - after)
        covariance = torch.tensor(
            [[after**2, kept * after**2], [kept * after**2, s**2]]
        )  # of (x_s', x_s), given x0
        variance = covariance[0, 0] - covariance[0, 1] ** 2 / covariance[1, 1]
        assert flow.sigma[i] ** 2 == pytest.approx(variance.item())
        x = torch.tensor(0.9, dtype=torch.float64)
        mean = (1 - after) * x0 + covariance[0, 1] / covariance[1, 1] * (x - (1 - s) * x0)
        v = (x - x0) / s  # the velocity with x0hat = x0
        assert flow.step(x, v, i, None).item() == pytest.approx(mean.item())


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_the_marginals_of_a_gaussian_case_are_kept(eta):
    """With the exact velocity of N(m, v), x has the mean (1 - s) m and the variance (1 - s)^2 v + s^2."""
    flow, seen = Flow(sigmas(200), eta), {}
    model = Gaussian(flow)
    with torch.no_grad():
        sample(
            model,
            flow,
            PROMPTS * 8,
            DoubleDraws((3,), range(64)),
            guidance=1.0,
            on_step=lambda prediction: seen.update({prediction.step: prediction.x_t}),
        )
    for i in (50, 120, 199):
        s, x = flow.level[i], seen[i]
        variance = (1 - s) ** 2 * model.variance + s**2
        assert x.mean().item() == pytest.approx((1 - s) * model.mean, abs=4 * math.sqrt(variance / x.numel()))
        assert x.var().item() == pytest.approx(variance, rel=4 * math.sqrt(2 / x.numel()))


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_the_images_of_a_gaussian_case_have_the_right_moments(eta):
    flow = Flow(sigmas(2000, last=0.005), eta)
    model = Gaussian(flow)
    mean, variance = model.moments()
    torch.testing.assert_close(mean, torch.full_like(mean, model.mean), rtol=1e-6, atol=0)
    expected = torch.full_like(variance, model.variance + flow.level[-1] ** 2)
    torch.testing.assert_close(variance, expected, rtol=0.01, atol=0)


@pytest.mark.parametrize(
    ("steps", "kept", "by_flowcps"), [(8, 0.59, 0.38), (28, 0.84, 0.45), (1000, 0.995, 0.50)]
)
def test_few_steps_with_noise_lose_the_variance_that_the_docstring_states(steps, kept, by_flowcps):
    """Of x_0 ~ N(0, 1) with the exact velocity, at eta 1; FlowCPS has the same steps with k = s'."""
    flow = Flow(sigmas(steps, last=1 / steps), 1.0)
    levels = [*flow.level[:steps], 0.0]
    ours, theirs = 1.0, 1.0
    for i, (s, after) in enumerate(pairwise(levels)):
        total = (1 - s) ** 2 + s**2
        x0, noise = (1 - s) / total, s / total  # E[x_0 | x] = x0 x, E[n | x] = noise x
        ours = (flow.a[i] + flow.b[i] * (noise - x0)) ** 2 * ours + flow.sigma[i] ** 2 * (after > 0)
        theirs = ((1 - after) * x0) ** 2 * theirs + after**2
    assert (ours, theirs) == (pytest.approx(kept, abs=0.006), pytest.approx(by_flowcps, abs=0.006))


def test_the_same_steps_with_another_eta():
    flow = Flow(sigmas(5), 0.7)
    still = flow.random_at([1, 2])
    for i in range(5):
        one = flow if i in (1, 2) else Flow(sigmas(5), 0.0)
        assert (still.a[i], still.b[i], still.sigma[i]) == (one.a[i], one.b[i], one.sigma[i])


# -- what is refused -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [0, -1, 1000])
def test_steps_that_do_not_fit(steps):
    with pytest.raises(UserError, match="sampling steps") as caught:
        flow_of(FlowMatchEulerDiscreteScheduler().config, steps, 0.0, tokens=64)
    assert caught.value.where == "sampler.steps"


@pytest.mark.parametrize("eta", [-0.1, 1.1, math.nan])
def test_eta_out_of_range(eta):
    with pytest.raises(UserError, match="eta"):
        Flow([1.0, 0.5], eta)


@pytest.mark.parametrize("key", ["invert_sigmas", "stochastic_sampling"])
def test_schedulers_that_take_other_steps(key):
    config = {
        **FlowMatchEulerDiscreteScheduler().config,
        key: True,
    }  # old versions of the class know fewer keys
    with pytest.raises(UserError, match=f"{key}: true") as caught:
        flow_of(config, 8, 0.0, tokens=64)
    assert caught.value.hint == f"{key}: false"


def test_a_scheduler_of_noise_is_refused():
    with pytest.raises(UserError, match="DDIMScheduler"):
        flow_of({"_class_name": "DDIMScheduler"}, 8, 0.0, tokens=64)


@pytest.mark.parametrize("steps", [28, 50])
def test_no_step_of_the_published_schedule_outweighs_all_others(steps):
    """Drift and log-probabilities weigh step i by (b / sigma)^2. Stable Diffusion 3.5 has shift 3 and ends at .009."""
    config = {"shift": 3.0, "use_dynamic_shifting": False, "shift_terminal": None}

    def largest_share(flow):
        weights = [(b / k) ** 2 for b, k in zip(flow.b, flow.sigma, strict=True)]
        return max(weights) / sum(weights)

    assert largest_share(flow_of(config, steps, 1.0, 1024)) < 0.45
    assert largest_share(Flow(flow_of(config, steps, 0.0, 1024).level[:-1], 1.0)) > 0.85


def test_a_schedule_is_stretched_only_where_it_has_noise_and_ends_too_low():
    low, high = {"shift": 3.0, "shift_terminal": None}, {"shift": 3.0, "shift_terminal": 0.1}
    for config, eta, last in ((low, 0.5, 0.06), (high, 0.5, 0.1), (high, 0.0, 0.1)):
        assert flow_of(config, 8, eta, 16).level[-2] == pytest.approx(last, rel=1e-5)
    assert flow_of(low, 8, 0.0, 16).level[-2] < 0.01
    assert flow_of(high, 8, 0.5, 16).level[:-1] == flow_of(high, 8, 0.0, 16).level[:-1]
