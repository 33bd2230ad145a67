import pytest
import torch
from diffusers import DDIMScheduler

from ril_bench.diffusion.sampler import sample
from ril_bench.draws import Draws
from tests.pipelines import LATENT

PROMPTS = ["a red circle", "a large blue star"]
DRAWS = Draws((0, 1, 2), [0, 1])


@pytest.fixture
def model(tiny_model):
    """One adapter that trains, with factors that are not zero."""
    tiny_model.add_adapter("a", seed_key=(0,))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in tiny_model.adapter_parameters("a").values():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    tiny_model.activate({"a": 1.0}, train=["a"])
    return tiny_model


def reference_scheduler(model, steps):
    scheduler = DDIMScheduler.from_config(model.pipe.scheduler.config)
    scheduler.set_timesteps(steps)
    return scheduler


# -- sampling --------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [1, 7])
@pytest.mark.parametrize(("eta", "guidance"), [(0.0, 3.0), (1.0, 1.0), (1.0, 3.0)])
def test_sample_is_diffusers_loop(model, steps, eta, guidance):
    scheduler = reference_scheduler(model, steps)
    text = model.pipe.encode_prompt(PROMPTS, "cpu", 1, True, negative_prompt=["", ""])
    x = DRAWS.normal("init", shape=LATENT)
    with torch.no_grad():
        for i, t in enumerate(scheduler.timesteps):
            cond, uncond = (model.denoiser(x, t, encoder_hidden_states=half).sample for half in text[:2])
            eps = uncond + guidance * (cond - uncond)
            noise = DRAWS.normal("step", i, shape=LATENT)
            x = scheduler.step(eps, t, x, eta=eta, variance_noise=noise).prev_sample
    ddim = model.sampler(steps, eta)
    scale = float(x.abs().max())
    torch.testing.assert_close(
        sample(model, ddim, PROMPTS, DRAWS, guidance=guidance) / scale, x / scale, rtol=0, atol=1e-5
    )


def test_a_sample_does_not_depend_on_its_batch(model):
    ddim = model.sampler(5, 1.0)
    whole = sample(model, ddim, PROMPTS, DRAWS, guidance=3.0)
    alone = sample(model, ddim, PROMPTS[1:], DRAWS[1:], guidance=3.0)
    torch.testing.assert_close(whole[1:], alone, rtol=1e-4, atol=1e-4)


def test_steps_with_gradient_give_the_same_latents(model):
    ddim = model.sampler(5, 1.0)
    plain = sample(model, ddim, PROMPTS, DRAWS, guidance=3.0)
    assert not plain.requires_grad
    for grad_steps in ([4], [0, 2, 3], range(5)):
        latents = sample(model, ddim, PROMPTS, DRAWS, guidance=3.0, grad_steps=grad_steps)
        assert latents.requires_grad
        torch.testing.assert_close(latents, plain, rtol=1e-4, atol=1e-4)


def test_each_step_with_gradient_is_one_call_and_reaches_the_callback(model):
    ddim = model.sampler(5, 1.0)
    seen = []
    sample(model, ddim, PROMPTS, DRAWS, guidance=3.0, grad_steps=[1, 4], on_grad_step=seen.append)
    # The latents of the second call depend on the first call, so the second is a chained call.
    assert model.counter == {
        ("denoiser", False, 4): 3,
        ("denoiser", True, 4): 1,
        ("denoiser chained", True, 4): 1,
    }
    assert [p.step for p in seen] == [1, 4]
    for prediction in seen:
        assert prediction.t == ddim.timesteps[prediction.step]
        assert (prediction.prompts, prediction.guidance) == (PROMPTS, 3.0)
        assert not prediction.x_t.requires_grad
        assert prediction.output.requires_grad
        again = model.predict(prediction.x_t, prediction.t, PROMPTS, 3.0)
        torch.testing.assert_close(prediction.output, again)
        expected = ddim.x0hat(prediction.x_t, prediction.output, prediction.step)
        torch.testing.assert_close(prediction.x0(), expected)
        assert prediction.x0().requires_grad


def test_folded_weights_are_the_callers(model):
    ddim = model.sampler(3, 0.0)
    with torch.no_grad(), model.folded({}):
        pretrained = sample(model, ddim, PROMPTS, DRAWS, guidance=3.0)
    model.activate({})
    torch.testing.assert_close(pretrained, sample(model, ddim, PROMPTS, DRAWS, guidance=3.0))


def test_steps_with_gradient_where_there_can_be_none_are_refused(model):
    ddim = model.sampler(3, 0.0)
    with pytest.raises(RuntimeError, match="steps with gradient"), model.folded():
        sample(model, ddim, PROMPTS, DRAWS, guidance=3.0, grad_steps=[2])
    with pytest.raises(RuntimeError, match="steps with gradient"), torch.no_grad():
        sample(model, ddim, PROMPTS, DRAWS, guidance=3.0, grad_steps=[2])


# -- gradients -------------------------------------------------------------------------------------


def test_steps_in_between_pass_the_chain_but_not_their_own_gradient(model):
    # The expected gradient is plain autograd on PEFT's live layers.
    ddim, grad_steps = model.sampler(5, 1.0), {1, 3}
    text = torch.cat([model.embed(["", ""]), model.embed(PROMPTS)])
    x = DRAWS.normal("init", shape=LATENT)
    for i, t in enumerate(ddim.timesteps):
        uncond, cond = model.denoiser(torch.cat([x, x]), t, encoder_hidden_states=text).sample.chunk(2)
        eps = uncond + 3.0 * (cond - uncond)
        if i not in grad_steps:
            eps = eps.detach()
        x = ddim.a[i] * x + ddim.b[i] * eps + ddim.sigma[i] * DRAWS.normal("step", i, shape=LATENT)
    expected = torch.autograd.grad(x.square().sum(), model.parameters())
    latents = sample(model, ddim, PROMPTS, DRAWS, guidance=3.0, grad_steps=grad_steps)
    assert relative_gap(torch.autograd.grad(latents.square().sum(), model.parameters()), expected) < 1e-4


def relative_gap(found, expected):
    flat, reference = (torch.cat([gradient.flatten() for gradient in side]) for side in (found, expected))
    assert reference.norm() > 0
    return float((flat - reference).norm() / reference.norm())
