"""The pipelines that a `DiffusionModel` can wrap, and how each passes prompts to its denoiser."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline
from torch import Tensor, nn

from ril_bench.errors import UserError

LARGEST = 4096  # a side of the latents


@dataclass(frozen=True)
class Text:
    """N encoded prompts.

    Attributes:
        tokens: (N, L, D), to which the denoiser attends.
        pooled: (N, P), one vector for each prompt; None where the family has none.
    """

    tokens: Tensor
    pooled: Tensor | None = None

    @staticmethod
    def of(parts: Sequence[Text]) -> Text:
        """The concatenation of several encoded prompts."""
        pooled = [part.pooled for part in parts if part.pooled is not None]
        return Text(torch.cat([part.tokens for part in parts]), torch.cat(pooled) if pooled else None)


def latent_size(config: Mapping[str, Any]) -> tuple[int, int]:
    """Height and width of the latents that a denoiser was trained on, from its config."""
    size: Any = config.get("sample_size")
    sides = size if isinstance(size, list | tuple) and len(size) == 2 else (size, size)
    if not all(type(side) is int and 0 < side <= LARGEST for side in sides):
        raise UserError(
            f"the denoiser states no size of its latents: sample_size is {size!r}",
            where="unet/config.json of the model",
            hint=f"set sample_size to a whole number up to {LARGEST}, or to [height, width]",
        )
    return sides[0], sides[1]


class StableDiffusion:
    """Stable Diffusion 1.x and 2.x: the last hidden states of one text encoder."""

    pipeline: ClassVar[Any] = StableDiffusionPipeline
    #: arguments of the pipeline's loader: parts that play no role in training are not loaded, and may be missing
    without: ClassVar[dict[str, Any]] = {
        "safety_checker": None,
        "requires_safety_checker": False,
        "feature_extractor": None,
        "image_encoder": None,
    }
    #: the folders whose weights are loaded
    weights: ClassVar[tuple[str, ...]] = ("text_encoder", "unet", "vae")
    tokenizers: ClassVar[tuple[str, ...]] = ("tokenizer",)

    def __init__(self, pipe: Any):
        self._pipe = pipe

    @property
    def encoders(self) -> list[nn.Module]:
        return [self._pipe.text_encoder]

    def encode(self, prompt: str, device: torch.device) -> Text:
        """One prompt, "" for the unconditional half of guidance."""
        return Text(self._pipe.encode_prompt(prompt, device, 1, do_classifier_free_guidance=False)[0])

    def unet_arguments(self, text: Text) -> dict[str, Any]:
        """The denoiser's arguments besides latents and timestep."""
        return {"encoder_hidden_states": text.tokens}


class StableDiffusionXL:
    """SDXL (arXiv 2307.01952): two text encoders side by side, the second one's pooled vector, and the image's size.

    The size is the one that the model was trained on, uncropped, as in the pipeline's default. Where the pipeline's
    config has force_zeros_for_empty_prompt, as published, the empty prompt is encoded as zeros.
    """

    pipeline: ClassVar[Any] = StableDiffusionXLPipeline
    without: ClassVar[dict[str, Any]] = {"feature_extractor": None, "image_encoder": None}
    weights: ClassVar[tuple[str, ...]] = ("text_encoder", "text_encoder_2", "unet", "vae")
    tokenizers: ClassVar[tuple[str, ...]] = ("tokenizer", "tokenizer_2")

    def __init__(self, pipe: Any):
        self._pipe = pipe
        height, width = (pipe.vae_scale_factor * side for side in latent_size(pipe.unet.config))
        self._size = (height, width, 0, 0, height, width)  # original size, corner of the crop, target size

    @property
    def encoders(self) -> list[nn.Module]:
        return [self._pipe.text_encoder, self._pipe.text_encoder_2]

    def encode(self, prompt: str, device: torch.device) -> Text:
        """One prompt, "" for the unconditional half of guidance."""
        tokens, _, pooled, _ = self._pipe.encode_prompt(
            prompt, device=device, num_images_per_prompt=1, do_classifier_free_guidance=False
        )
        if prompt == "" and self._pipe.config.force_zeros_for_empty_prompt:
            tokens, pooled = torch.zeros_like(tokens), torch.zeros_like(pooled)
        return Text(tokens, pooled)

    def unet_arguments(self, text: Text) -> dict[str, Any]:
        """The denoiser's arguments besides latents and timestep."""
        size = torch.tensor([self._size], dtype=text.tokens.dtype, device=text.tokens.device)
        added = {"text_embeds": text.pooled, "time_ids": size.repeat(len(text.tokens), 1)}
        return {"encoder_hidden_states": text.tokens, "added_cond_kwargs": added}


Family = StableDiffusion | StableDiffusionXL
FAMILIES: dict[str, type[Family]] = {
    family.pipeline.__name__: family for family in (StableDiffusion, StableDiffusionXL)
}


def family_called(pipeline: str | None, where: str) -> type[Family]:
    """The family of a pipeline class, by its name in model_index.json.

    Raises UserError for any other class.
    """
    if pipeline not in FAMILIES:
        raise UserError(
            f"this model is a {pipeline}, which cannot be trained here",
            where=where,
            hint=f"choose a model whose model_index.json has _class_name {' or '.join(FAMILIES)}",
        )
    return FAMILIES[pipeline]
