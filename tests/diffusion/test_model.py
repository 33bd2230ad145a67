import pytest
import torch
from diffusers import StableDiffusionPipeline

from ril_bench.diffusion.model import AdapterSpec, DiffusionModel
from ril_bench.errors import UserError
from ril_bench.machine.compute import Compute
from tests.pipelines import LATENT, PIXELS

PROMPTS = ["a red circle", "a large blue star"]
SPEC = AdapterSpec(rank=2, alpha=2.0, targets=("to_q",))


@pytest.fixture
def x():
    return torch.randn(2, *LATENT, generator=torch.Generator().manual_seed(1))


def test_everything_is_frozen(tiny_model):
    parts = tiny_model.pipe.unet, tiny_model.pipe.vae, tiny_model.pipe.text_encoder
    assert not any(parameter.requires_grad for part in parts for parameter in part.parameters())
    assert not any(part.training for part in parts)
    assert tiny_model.latent_shape == LATENT


def test_embed_is_the_pipelines_and_computed_once_for_each_prompt(tiny_model):
    prompts = [*PROMPTS, "", PROMPTS[0]]
    reference = tiny_model.pipe.encode_prompt(prompts, "cpu", 1, False)[0]
    calls = []
    hook = tiny_model.pipe.text_encoder.register_forward_hook(lambda *_: calls.append(1))
    torch.testing.assert_close(tiny_model.embed(prompts), reference, rtol=1e-5, atol=1e-6)
    tiny_model.embed(PROMPTS)
    hook.remove()
    assert len(calls) == 3


@pytest.mark.parametrize("guidance", [1.0, 3.0, 0.0])
def test_predict_is_classifier_free_guidance(tiny_model, x, guidance):
    cond, uncond = (
        tiny_model.pipe.unet(x, 501, encoder_hidden_states=tiny_model.embed(prompts)).sample
        for prompts in (PROMPTS, ["", ""])
    )
    eps = tiny_model.predict(x, 501, PROMPTS, guidance)
    torch.testing.assert_close(eps, (1 - guidance) * uncond + guidance * cond, rtol=1e-4, atol=1e-5)
    assert tiny_model.counter == {("denoiser", False, 2 if guidance == 1 else 4): 1}


def test_counter_tells_calls_with_gradient(tiny_model, x):
    tiny_model.add_adapter("a", seed_key=(0,))
    tiny_model.activate({"a": 1.0}, train=["a"])
    eps = tiny_model.predict(x, 501, PROMPTS, 1.0)
    tiny_model.decode(eps)
    with torch.no_grad():
        tiny_model.predict(x[:1], 501, PROMPTS[:1], 3.0)
        tiny_model.decode(x[:1])
    assert tiny_model.counter == {
        ("denoiser", True, 2): 1,
        ("decode", True, 2): 1,
        ("denoiser", False, 2): 1,
        ("decode", False, 1): 1,
    }


def test_decode_is_the_vaes_within_0_and_1(tiny_model, x):
    latents = 5 * x
    raw = tiny_model.pipe.vae.decode(latents / tiny_model.pipe.vae.config.scaling_factor).sample / 2 + 0.5
    assert raw.min() < 0 < 1 < raw.max(), "the test must reach the clamp"
    images = tiny_model.decode(latents)
    assert images.shape == (2, 3, PIXELS, PIXELS)
    torch.testing.assert_close(images, raw.clamp(0, 1))


def test_decode_passes_the_gradient_of_saturated_pixels(tiny_model, x):
    latents = (5 * x).requires_grad_()
    weight = torch.randn(2, 3, PIXELS, PIXELS, generator=torch.Generator().manual_seed(2))
    (straight,) = torch.autograd.grad((weight * tiny_model.decode(latents)).sum(), latents)
    vae = tiny_model.pipe.vae
    raw = vae.decode(latents / vae.config.scaling_factor).sample / 2 + 0.5
    (unclamped,) = torch.autograd.grad((weight * raw).sum(), latents)
    torch.testing.assert_close(straight, unclamped)


def test_a_half_precision_denoiser_keeps_its_adapters_and_its_answers_in_fp32(tiny_pipeline, x):
    model = DiffusionModel.load(
        str(tiny_pipeline), adapter=SPEC, compute=Compute(dtype="bfloat16", vae_dtype="bfloat16")
    )
    model.add_adapter("a", seed_key=(0,))
    model.activate({"a": 1.0}, train=["a"])
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    eps = model.predict(x, 501, PROMPTS, 3.0)
    assert eps.dtype == torch.float32
    with torch.no_grad():
        torch.testing.assert_close(model.predict(x, 501, PROMPTS, 3.0), eps.detach(), rtol=0.1, atol=0.05)
    assert model.decode(x).dtype == torch.float32


def test_a_model_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match="No such file or directory") as error:
        DiffusionModel.load(str(tmp_path), adapter=SPEC)
    assert error.value.where == str(tmp_path / "model_index.json")
    assert error.value.hint


def test_a_pipeline_in_memory_will_do(tiny_pipeline, tiny_model, x):
    pipe = StableDiffusionPipeline.from_pretrained(tiny_pipeline, safety_checker=None)
    model = DiffusionModel(pipe, adapter=SPEC)
    assert torch.equal(model.predict(x, 1, PROMPTS, 3.0), tiny_model.predict(x, 1, PROMPTS, 3.0))


def test_encode_is_the_autoencoders_mode(tiny_model):
    images = torch.rand(2, 3, PIXELS, PIXELS, generator=torch.Generator().manual_seed(0))
    latents, pipe = tiny_model.encode(images), tiny_model.pipe
    expected = pipe.vae.config.scaling_factor * pipe.vae.encode(2 * images - 1).latent_dist.mean
    torch.testing.assert_close(latents, expected)
    assert tiny_model.counter["encode", False, 2] == 1
    assert not latents.requires_grad
