"""The published architectures with random weights.

Time and memory do not depend on the weights.

The tokenizer is that of the tests, with CLIP's number of tokens: RIL-Bench does not ship the published vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline, StableDiffusionXLPipeline, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from ril_bench.diagnosis.architectures import ARCHITECTURES
from ril_bench.diffusion.model import AdapterSpec, DiffusionModel
from ril_bench.machine.compute import Compute
from tests.pipelines import scheduler, tokenizer

SD15, SDXL = ARCHITECTURES
TARGETS = ("to_q", "to_k", "to_v", "to_out.0")
# text_encoder/config.json of either, and text_encoder_2/config.json of SDXL
CLIP_L: dict[str, Any] = {
    "vocab_size": 49408, "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12,
    "num_attention_heads": 12, "projection_dim": 768, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1,
}  # fmt: skip
CLIP_G = CLIP_L | {
    "hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32, "num_attention_heads": 20,
    "projection_dim": 1280, "hidden_act": "gelu",
}  # fmt: skip


@contextmanager
def _default_format(dtype: str) -> Iterator[None]:
    """Creates weights in this format; SDXL in float32 first would take twice the memory."""
    torch.set_default_dtype(getattr(torch, dtype))
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


def random_model(
    repo: str, *, latent: int | None = None, device: str = "cpu", compute: Compute, rank: int = 8
) -> DiffusionModel:
    """A model of the published architecture.

    `latent` is the side of latents that are smaller than the published ones.
    """
    torch.manual_seed(0)
    configs = ARCHITECTURES[repo]
    with _default_format(compute.dtype):
        unet = UNet2DConditionModel.from_config(
            {**configs["unet"], **({"sample_size": latent} if latent else {})}
        )
        encoder = CLIPTextModel(CLIPTextConfig(**CLIP_L))
        encoder_2 = CLIPTextModelWithProjection(CLIPTextConfig(**CLIP_G)) if repo == SDXL else None
    with _default_format(compute.vae_dtype):
        vae = AutoencoderKL.from_config(configs["vae"])
    parts: dict[str, Any] = {
        "unet": unet,
        "vae": vae,
        "text_encoder": encoder,
        "tokenizer": tokenizer(77),
        "scheduler": scheduler(),
    }
    if encoder_2 is not None:
        pipe = StableDiffusionXLPipeline(**parts, text_encoder_2=encoder_2, tokenizer_2=parts["tokenizer"])
    else:
        pipe = StableDiffusionPipeline(
            **parts, safety_checker=None, feature_extractor=None, requires_safety_checker=False
        )
    return DiffusionModel(pipe, adapter=AdapterSpec(rank, rank, TARGETS), device=device, compute=compute)
