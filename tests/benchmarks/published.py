"""The published architectures with random weights.

Time and memory do not depend on the weights.

The tokenizer is that of the tests, with CLIP's number of tokens: RIL-Bench does not ship the published vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    FlowMatchEulerDiscreteScheduler,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
)

from ril_bench.diagnosis.architectures import ARCHITECTURES, TEXT_ENCODERS
from ril_bench.diagnosis.estimate import DENOISERS
from ril_bench.diffusion.model import AdapterSpec, DiffusionModel
from ril_bench.machine.compute import Compute
from tests.pipelines import scheduler, tokenizer

SD15, SDXL, SD35 = ARCHITECTURES
PIPELINES: dict[str, Any] = {
    SD15: StableDiffusionPipeline,
    SDXL: StableDiffusionXLPipeline,
    SD35: StableDiffusion3Pipeline,
}
ABSENT: dict[str, dict[str, Any]] = {
    SD15: {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False},
    SDXL: {},
    SD35: {"text_encoder_3": None, "tokenizer_3": None},
}
TARGETS = ("to_q", "to_k", "to_v", "to_out.0")


@contextmanager
def _created(device: str, dtype: str) -> Iterator[None]:
    """Creates weights on the device: in float32 on a GPU, where every format then starts from the same weights.

    On the CPU it creates them in their format: SDXL in float32 first would take twice the memory.
    """
    torch.set_default_dtype(getattr(torch, dtype) if device == "cpu" else torch.float32)
    try:
        with torch.device(device):
            yield
    finally:
        torch.set_default_dtype(torch.float32)


def random_model(
    repo: str, *, latent: int | None = None, device: str = "cpu", compute: Compute, rank: int = 8
) -> DiffusionModel:
    """A model of the published architecture; Stable Diffusion 3.5 without T5, whose weights alone take 9.5 GB.

    `latent` is the side of latents that are smaller than the published ones.
    """
    torch.manual_seed(0)
    configs = ARCHITECTURES[repo]
    ((part, config),) = [(part, config) for part, config in configs.items() if part != "vae"]
    words = tokenizer(77)
    parts: dict[str, Any] = {
        "scheduler": FlowMatchEulerDiscreteScheduler(shift=3.0) if repo == SD35 else scheduler()
    }
    with _created(device, compute.dtype):
        parts[part] = DENOISERS[part].from_config(config | ({"sample_size": latent} if latent else {}))
        for number, (kind, values) in enumerate(TEXT_ENCODERS[repo][:2]):
            end = f"_{number + 1}" * (number > 0)
            parts |= {f"text_encoder{end}": kind(kind.config_class(**values)), f"tokenizer{end}": words}
    with _created(device, compute.vae_dtype):
        parts["vae"] = AutoencoderKL.from_config(configs["vae"])
    return DiffusionModel(
        PIPELINES[repo](**parts, **ABSENT[repo]),
        adapter=AdapterSpec(rank, rank, TARGETS),
        device=device,
        compute=compute,
    )
