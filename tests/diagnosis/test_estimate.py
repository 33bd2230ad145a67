"""Counts on the meta device, against real calls of the model and published numbers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, SD3Transformer2DModel, UNet2DConditionModel
from peft import LoraConfig
from torch.utils.flop_counter import FlopCounterMode

from ril_bench.diagnosis.architectures import ARCHITECTURES, TEXT_ENCODERS
from ril_bench.diagnosis.estimate import (
    DENOISERS,
    counted_saves,
    decoder,
    denoiser,
    parameters,
    stored_weights,
)
from ril_bench.machine.compute import Compute
from ril_bench.remote.published import MODELS
from tests.pipelines import LATENT, autoencoder, stable_diffusion_3, stable_diffusion_xl
from tests.pipelines import denoiser as tiny_denoiser

SD35 = "stabilityai/stable-diffusion-3.5-medium"
TARGETS = ["to_q", "to_k", "to_v", "to_out.0"]
#: On a CPU, fused attention needs more than a few tokens and channels.
CONFIG = {**tiny_denoiser().config, "block_out_channels": (16, 32), "attention_head_dim": 8}
CONFIGS = {
    "sd": ("unet", CONFIG),
    "sdxl": ("unet", dict(stable_diffusion_xl().unet.config)),
    "sd3": ("transformer", dict(stable_diffusion_3().transformer.config)),
}


def inputs_of(model: Any) -> dict[str, Any]:
    """Random text embeddings, and the further inputs of SDXL's and SD 3's denoisers."""
    known, more = model.config, {}
    if isinstance(model, SD3Transformer2DModel):
        return {
            "encoder_hidden_states": torch.randn(1, 333, known.joint_attention_dim),
            "pooled_projections": torch.randn(1, known.pooled_projection_dim),
            "timestep": torch.ones(1),
        }
    if known.addition_embed_type == "text_time":
        pooled = known.projection_class_embeddings_input_dim - 6 * known.addition_time_embed_dim
        more["added_cond_kwargs"] = {"text_embeds": torch.randn(1, pooled), "time_ids": torch.randn(1, 6)}
    text = torch.randn(1, 77, known.cross_attention_dim)
    return {"timestep": torch.tensor(1), "encoder_hidden_states": text, **more}


@pytest.mark.parametrize("chained", [False, True])
@pytest.mark.parametrize("name", CONFIGS)
def test_a_call_keeps_what_autograd_keeps_on_the_cpu(name: str, chained: bool) -> None:
    part, config = CONFIGS[name]
    model = DENOISERS[part].from_config(config).requires_grad_(False)
    model.add_adapter(LoraConfig(r=2, target_modules=TARGETS))
    x = torch.randn(1, *LATENT, requires_grad=chained)
    with counted_saves(model) as kept:
        model(x, **inputs_of(model))
    found = denoiser(part, config, 2, TARGETS, Compute(), chained=chained)
    assert found.kept == pytest.approx(sum(kept.values()), rel=0.05)
    assert found.trained == sum(p.numel() for name, p in model.named_parameters() if "lora" in name)


def test_operations_are_those_of_the_plain_attention_too() -> None:
    """Attention as separate products has as many operations as in one kernel."""
    unet = UNet2DConditionModel.from_config(CONFIG)
    with (
        torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH),
        FlopCounterMode(display=False) as counted,
    ):
        unet(torch.randn(1, *LATENT), **inputs_of(unet))
    adapterless = counted.get_total_flops()
    assert denoiser("unet", CONFIG, 1, ["to_q"], Compute(), chained=False).flops == pytest.approx(
        adapterless, rel=0.01
    )


def test_a_decoding_keeps_what_autograd_keeps_on_the_cpu() -> None:
    vae = autoencoder().requires_grad_(False)
    with counted_saves(vae) as kept:
        vae.decode(torch.randn(1, *LATENT, requires_grad=True))
    assert decoder(vae.config, LATENT[1:], Compute()).kept == pytest.approx(sum(kept.values()), rel=0.05)


def test_options_that_save_memory_are_counted() -> None:
    plain, half, again = (
        denoiser("unet", CONFIG, 2, TARGETS, compute, chained=True).kept
        for compute in (Compute(), Compute(dtype="bfloat16"), Compute(checkpointing=True))
    )
    assert half < 0.8 * plain
    assert again < 0.6 * plain


@pytest.mark.parametrize("repo", MODELS)
def test_the_published_architectures_have_the_weights_of_the_published_files(repo) -> None:
    """Stored in float32; the rest of a file is its header."""
    configs, encoders = ARCHITECTURES[repo], TEXT_ENCODERS[repo]
    counts = {
        "unet": parameters(configs["unet"], UNet2DConditionModel),
        "vae": parameters(configs["vae"], AutoencoderKL),
        **{
            f"text_encoder{'_2' * (k > 0)}": parameters(config, kind)
            for k, (kind, config) in enumerate(encoders)
        },
    }
    sizes = {file.file.partition("/")[0]: file.size for file in MODELS[repo]}
    assert counts.keys() == sizes.keys()
    for part, count in counts.items():
        assert 0 < sizes[part] - 4 * count < 300_000


def test_stable_diffusion_3_5_medium_has_the_weights_that_were_published() -> None:
    """In billions, 2.5 of the denoiser [secondary: the model's page] and 4.7 of T5's encoder [arXiv 2403.03206]."""
    configs, encoders = ARCHITECTURES[SD35], TEXT_ENCODERS[SD35]
    assert parameters(configs["transformer"], SD3Transformer2DModel) == pytest.approx(2.5e9, rel=0.02)
    assert parameters(encoders[-1][1], encoders[-1][0]) == pytest.approx(4.7e9, rel=0.02)


def test_the_weights_of_a_file_are_counted_by_its_header(tmp_path) -> None:
    vae = autoencoder()
    vae.save_pretrained(tmp_path)
    found = stored_weights(tmp_path / "diffusion_pytorch_model.safetensors")
    assert found == sum(p.numel() for p in vae.parameters())
