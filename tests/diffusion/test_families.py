"""Every family, compared with diffusers' own pipeline: equal latents in, equal images out."""

import copy
import json
import random
from dataclasses import replace

import pytest
import torch
from diffusers import DDIMScheduler, EulerDiscreteScheduler, PNDMScheduler, StableDiffusion3Pipeline
from safetensors.torch import load_file, save_file

from ril_bench.diffusion.configs import check_folder
from ril_bench.diffusion.model import AdapterSpec, DiffusionModel
from ril_bench.diffusion.sampler import sample
from ril_bench.draws import Draws
from ril_bench.errors import UserError
from ril_bench.machine.compute import Compute
from tests.pipelines import LATENT, PIXELS, stable_diffusion, stable_diffusion_3, stable_diffusion_xl, with_t5

PROMPTS = ["a red circle", "a large blue star"]
SPEC = AdapterSpec(rank=2, alpha=2.0, targets=("to_q", "to_k", "to_v", "to_out.0"))
DRAWS = Draws((0, 1, 2), [0, 1])
STEPS = 5
PIPELINES = {
    "sd1": lambda: stable_diffusion(),
    "sd2-v": lambda: stable_diffusion("v_prediction"),
    "sdxl": lambda: stable_diffusion_xl(),
    "sdxl-empty-prompt": lambda: stable_diffusion_xl(force_zeros=False),
    "sd3": lambda: stable_diffusion_3(),
    "sd3-by-resolution": lambda: stable_diffusion_3(use_dynamic_shifting=True),
    "sd3-t5": lambda: with_t5(stable_diffusion_3()),
}
OF_TEXT = (
    "add_q_proj",
    "add_k_proj",
    "add_v_proj",
    "to_add_out",
)  # SD 3's projections of the prompt's tokens


@pytest.fixture(params=PIPELINES)
def pipe(request):
    pipeline = PIPELINES[request.param]()
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def edit(file, **changes):
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def built(pipe):
    targets = (*SPEC.targets, *OF_TEXT) if isinstance(pipe, StableDiffusion3Pipeline) else SPEC.targets
    return DiffusionModel(pipe, adapter=replace(SPEC, targets=targets))


def adapted(model):
    """The model with one adapter that trains and whose factors are not zero."""
    model.add_adapter("a", seed_key=(0,))
    with torch.no_grad():
        for index, parameter in enumerate(model.adapter_parameters("a").values()):
            generator = torch.Generator().manual_seed(index)
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    model.activate({"a": 1.0}, train=["a"])
    return model


def tokens_of_t5(pipe):
    """The pipeline's default; where T5 is absent, versions of diffusers differ in the number of zeros."""
    return 256 if pipe.text_encoder_3 else pipe.tokenizer_max_length


@torch.no_grad()
def theirs(pipe, guidance, output_type, size=PIXELS):
    """What the pipeline itself generates from the same first latents, without noise in the steps."""
    of_kind = {"eta": 0.0}
    if isinstance(pipe, StableDiffusion3Pipeline):
        of_kind = {"max_sequence_length": tokens_of_t5(pipe)}
    return pipe(
        prompt=PROMPTS,
        height=size,
        width=size,
        num_inference_steps=STEPS,
        guidance_scale=guidance,
        **of_kind,
        latents=DRAWS.normal("init", shape=(LATENT[0], *(size * side // PIXELS for side in LATENT[1:]))),
        output_type=output_type,
    ).images


@pytest.mark.parametrize("guidance", [1.0, 4.0])
def test_latents_and_images_are_the_pipelines(pipe, guidance):
    latents, images = (theirs(copy.deepcopy(pipe), guidance, kind) for kind in ("latent", "pt"))
    model = built(pipe)
    with torch.no_grad():
        ours = sample(model, model.sampler(STEPS, 0.0), PROMPTS, DRAWS, guidance=guidance)
        decoded = model.decode(ours)
    scale = float(latents.abs().max())
    torch.testing.assert_close(ours / scale, latents / scale, rtol=0, atol=1e-4)
    torch.testing.assert_close(decoded, images, rtol=0, atol=1e-4)


def test_images_of_another_size_are_the_pipelines(pipe, tmp_path):
    pipe.save_pretrained(tmp_path)
    size = PIXELS // 2
    latents = theirs(copy.deepcopy(pipe), 4.0, "latent", size)
    model = DiffusionModel.load(tmp_path, adapter=SPEC, size=size)
    assert model.image_size == (size, size)
    with torch.no_grad():
        ours = sample(model, model.sampler(STEPS, 0.0), PROMPTS, DRAWS, guidance=4.0)
    scale = float(latents.abs().max())
    torch.testing.assert_close(ours / scale, latents / scale, rtol=0, atol=1e-4)


def test_a_size_without_whole_latents_is_refused(pipe, tmp_path):
    pipe.save_pretrained(tmp_path)
    with pytest.raises(UserError, match="generates no images of 61 pixels a side") as caught:
        DiffusionModel.load(tmp_path, adapter=SPEC, size=61)
    assert caught.value.hint.startswith("choose a multiple of ")


def test_latents_with_more_patches_than_positions_are_refused(tmp_path):
    stable_diffusion_3().save_pretrained(tmp_path)  # 8 positions, patches of 2, 4 pixels in a latent
    with pytest.raises(UserError, match="positions for latents of at most 16 a side, and 24"):
        DiffusionModel.load(tmp_path, adapter=SPEC, size=24 * PIXELS // LATENT[1])
    edit(tmp_path / "transformer" / "config.json", sample_size=24)
    with pytest.raises(UserError, match="positions for latents of at most 16 a side, and 24"):
        check_folder(tmp_path)


@pytest.mark.parametrize(
    "changes", [{"_class_name": "FlowMatchHeunDiscreteScheduler"}, {"use_flow_sigmas": True}]
)
def test_a_unet_with_the_scheduler_of_a_flow_is_refused(changes, tmp_path):
    """diffusers keeps the betas in the config when a scheduler is made from another one."""
    stable_diffusion().save_pretrained(tmp_path)
    edit(tmp_path / "scheduler" / "scheduler_config.json", **changes)
    with pytest.raises(UserError, match="takes the steps of a flow, and its denoiser is a UNet"):
        check_folder(tmp_path)


def test_a_flow_whose_index_names_another_scheduler_is_refused(tmp_path):
    stable_diffusion_3().save_pretrained(tmp_path)
    edit(tmp_path / "model_index.json", scheduler=["diffusers", "DDIMScheduler"])
    with pytest.raises(UserError, match="the model's scheduler is DDIMScheduler") as caught:
        check_folder(tmp_path)
    assert caught.value.where == str(tmp_path / "model_index.json")


def test_a_step_of_a_velocity_model_is_diffusers(tmp_path):
    model = DiffusionModel(stable_diffusion("v_prediction"), adapter=SPEC)
    scheduler = DDIMScheduler.from_config(model.pipe.scheduler.config)
    scheduler.set_timesteps(STEPS)
    ddim, x, noise = (
        model.sampler(STEPS, 1.0),
        DRAWS.normal("x", shape=LATENT),
        torch.ones(2, *LATENT),
    )
    for i, t in enumerate(ddim.timesteps):
        velocity = model.denoiser(x, t, encoder_hidden_states=model.embed(PROMPTS)).sample
        step = scheduler.step(velocity, t, x, eta=1.0, variance_noise=noise)
        eps = model.predict(x, t, PROMPTS, 1.0)
        torch.testing.assert_close(ddim.x0hat(x, eps, i), step.pred_original_sample, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(ddim.step(x, eps, i, noise), step.prev_sample, rtol=1e-4, atol=1e-4)


def test_a_folder_says_what_it_holds(pipe, tmp_path):
    pipe.save_pretrained(tmp_path)
    x = DRAWS.normal("x", shape=LATENT)
    loaded = DiffusionModel.load(tmp_path, adapter=SPEC)
    assert type(loaded.pipe) is type(pipe)
    model = built(pipe)
    assert torch.equal(loaded.predict(x, 501, PROMPTS, 3.0), model.predict(x, 501, PROMPTS, 3.0))


def test_a_trained_adapter_opens_in_the_pipeline_itself(pipe, tmp_path):
    fresh, model = copy.deepcopy(pipe), adapted(built(pipe))
    (tmp_path / "adapter.safetensors").write_bytes(model.lora_bytes())
    with torch.no_grad():
        ours = sample(model, model.sampler(STEPS, 0.0), PROMPTS, DRAWS, guidance=3.0)
    plain = theirs(copy.deepcopy(fresh), 3.0, "latent")
    fresh.load_lora_weights(tmp_path, weight_name="adapter.safetensors")
    loaded = theirs(fresh, 3.0, "latent")
    scale = float(loaded.abs().max())
    assert (plain - loaded).abs().max() > 1e-2 * scale
    torch.testing.assert_close(ours / scale, loaded / scale, rtol=0, atol=1e-4)


def test_a_call_has_the_gradient_of_autograd_on_the_denoiser(pipe):
    model = adapted(built(pipe))
    x, t = DRAWS.normal("x", shape=LATENT), 501
    weight = DRAWS.normal("weight", shape=LATENT)
    (weight * model.predict(x, t, PROMPTS, 1.0)).sum().backward()
    found = [parameter.grad.clone() for parameter in model.parameters()]
    if isinstance(pipe, StableDiffusion3Pipeline):
        text, _, pooled, _ = pipe.encode_prompt(
            PROMPTS,
            PROMPTS,
            PROMPTS,
            do_classifier_free_guidance=False,
            max_sequence_length=tokens_of_t5(pipe),
        )
        raw = model.denoiser(x, text, pooled, torch.tensor([t, t])).sample
    else:
        raw = model.denoiser(x, t, **model._family.unet_arguments(model._texts(PROMPTS))).sample
    expected = torch.autograd.grad((weight * raw).sum(), model.parameters())
    for gradient, reference in zip(found, expected, strict=True):
        torch.testing.assert_close(gradient, reference, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("scheduler", [PNDMScheduler, EulerDiscreteScheduler])
def test_the_published_schedulers_become_ddim(scheduler):
    """SD 1.5 ships with PNDM's config, SDXL with Euler's; both state Stable Diffusion's schedule."""
    pipe = stable_diffusion()
    shared = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}
    own = {"set_alpha_to_one": False, "skip_prk_steps": True} if scheduler is PNDMScheduler else {}
    published = scheduler(**shared, **own, timestep_spacing="leading")
    published.register_to_config(
        clip_sample=False, set_alpha_to_one=False
    )  # keys beyond its own, as published
    pipe.scheduler = published
    model = built(pipe)
    reference = DiffusionModel(stable_diffusion(), adapter=SPEC)
    assert model.sampler(20, 1.0).a == pytest.approx(reference.sampler(20, 1.0).a)


@pytest.mark.parametrize("kind", ["sd1", "sdxl", "sd3"])
def test_a_bfloat16_denoiser_beside_a_float32_autoencoder(kind, tmp_path):
    PIPELINES[kind]().save_pretrained(tmp_path)
    model = DiffusionModel.load(tmp_path, adapter=SPEC, compute=Compute(dtype="bfloat16"))
    parts = (model.denoiser, model.pipe.vae, model.pipe.text_encoder)
    assert [part.dtype for part in parts] == [torch.bfloat16, torch.float32, torch.bfloat16]
    model = adapted(model)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    x = DRAWS.normal("x", shape=LATENT)
    eps = model.predict(x, 501, PROMPTS, 3.0)
    exact = adapted(DiffusionModel.load(tmp_path, adapter=SPEC)).predict(x, 501, PROMPTS, 3.0)
    assert eps.dtype == torch.float32
    assert 0 < (eps - exact).norm() < 0.05 * exact.norm()


def test_a_pipeline_of_another_kind_is_refused(tmp_path):
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": "FluxPipeline"}))
    with pytest.raises(UserError, match="this model is a FluxPipeline") as caught:
        DiffusionModel.load(tmp_path, adapter=SPEC)
    assert caught.value.where == str(tmp_path / "model_index.json")
    assert "StableDiffusionPipeline or StableDiffusionXLPipeline" in caught.value.hint


def test_a_denoiser_that_predicts_the_image_is_refused():
    with pytest.raises(UserError, match="predicts 'sample'") as caught:
        DiffusionModel(stable_diffusion("sample"), adapter=SPEC).sampler(STEPS, 0.0)
    assert caught.value.hint == "choose a model that predicts epsilon or v_prediction"


@pytest.mark.parametrize("build", [stable_diffusion, stable_diffusion_xl, stable_diffusion_3])
def test_a_text_encoder_gets_all_of_its_weights_under_the_names_of_any_version(tmp_path, build):
    build().save_pretrained(tmp_path)
    # Some versions of safetensors map the file into memory, and it is written again below.
    expected = [
        copy.deepcopy(part.state_dict())
        for part in DiffusionModel.load(tmp_path, adapter=SPEC)._family.encoders
    ]
    for prefix in ("", "text_model."):
        for file in tmp_path.glob("text_encoder*/model.safetensors"):
            if (state := load_file(file)).keys() & {"shared.weight"}:  # T5
                continue
            names = {key: key.removeprefix("text_model.") for key in state}
            own = {
                key: (prefix + name).replace("text_model.text_proj", "text_proj")
                for key, name in names.items()
            }
            save_file({own[key]: value for key, value in state.items()}, file, metadata={"format": "pt"})
        for want, found in zip(
            expected, DiffusionModel.load(tmp_path, adapter=SPEC)._family.encoders, strict=True
        ):
            assert all(torch.equal(value, want[key]) for key, value in found.state_dict().items())


@pytest.mark.parametrize("build", [stable_diffusion, stable_diffusion_xl, stable_diffusion_3])
def test_a_part_whose_file_lacks_a_weight_is_refused(tmp_path, build):
    """The libraries alone would warn, and draw that weight at random."""
    build().save_pretrained(tmp_path)
    check = random.Random(0)
    for file in sorted(tmp_path.glob("*/*.safetensors")):
        whole = copy.deepcopy(load_file(file))
        for lost in check.sample(sorted(whole), 2):
            save_file({key: whole[key] for key in whole if key != lost}, file, metadata={"format": "pt"})
            with pytest.raises(
                UserError, match=rf"weights of the {file.parent.name} .* 1 missing \("
            ) as caught:
                DiffusionModel.load(tmp_path, adapter=SPEC)
            assert lost.removeprefix("text_model.") in caught.value.what
        save_file(whole, file, metadata={"format": "pt"})
    DiffusionModel.load(tmp_path, adapter=SPEC)


def test_weights_that_would_be_unpickled_are_not_read(tmp_path):
    stable_diffusion().save_pretrained(tmp_path, safe_serialization=False)
    assert list(tmp_path.glob("unet/*.bin"))
    with pytest.raises(UserError, match=r"the weights of (unet|text_encoder) are here only as a pickle"):
        DiffusionModel.load(tmp_path, adapter=SPEC)
