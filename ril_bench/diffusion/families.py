"""The pipelines that a `DiffusionModel` can wrap: their parts, their sampler, and how each calls its denoiser."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from diffusers import StableDiffusion3Pipeline, StableDiffusionPipeline, StableDiffusionXLPipeline
from torch import Tensor, nn

from ril_bench.diffusion.ddim import ddim_of
from ril_bench.diffusion.flow import flow_of
from ril_bench.diffusion.steps import Sampler
from ril_bench.errors import UserError

LARGEST = 4096  # a side of the latents
CLIPS = ("text_encoder", "text_encoder_2")


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
            where="config.json of the model's denoiser",
            hint=f"set sample_size to a whole number up to {LARGEST}, or to [height, width]",
        )
    return sides[0], sides[1]


def resized(denoiser: Mapping[str, Any], vae: Mapping[str, Any], size: int) -> dict[str, Any]:
    """What changes in the config of a denoiser for images of `size` pixels a side.

    Raises UserError where latents or patches of that size are not whole.
    """
    factor = 2 ** (len(vae["block_out_channels"]) - 1)
    pixels = factor * (denoiser.get("patch_size") or 1)
    if size % pixels:
        raise UserError(
            f"this model generates no images of {size} pixels a side",
            where="sampler.size",
            hint=f"choose a multiple of {pixels}, such as {max(1, size // pixels) * pixels}",
        )
    check_positions(denoiser, size // factor)
    return {"sample_size": size // factor}


def check_positions(denoiser: Mapping[str, Any], side: int) -> None:
    """Raises UserError where latents with this side have more patches than the denoiser has positions."""
    most, patch = denoiser.get("pos_embed_max_size"), denoiser.get("patch_size") or 1
    if isinstance(most, int) and side // patch > most:
        raise UserError(
            f"this model has positions for latents of at most {most * patch} a side, and {side} are asked for",
            where="sampler.size, or sample_size in config.json of the model's denoiser",
            hint="choose a smaller size",
        )


class Family:
    """A kind of pipeline; the object belongs to one pipeline, and the class attributes to all of its kind."""

    pipeline: ClassVar[Any]
    #: arguments of the pipeline's loader: parts that play no role in training are not loaded, and may be missing
    without: ClassVar[dict[str, Any]] = {"feature_extractor": None, "image_encoder": None}
    #: the part that predicts noise or a velocity; diffusers' LoRA files name it, too
    denoiser: ClassVar[str] = "unet"
    #: the folders whose weights are loaded
    weights: ClassVar[tuple[str, ...]]
    tokenizers: ClassVar[tuple[str, ...]]
    #: the folders that a pipeline may lack
    optional: ClassVar[tuple[str, ...]] = ()
    #: whether the model matches a flow, rather than the noise of Stable Diffusion's schedule
    flow: ClassVar[bool] = False

    def __init__(self, pipe: Any):
        self._pipe = pipe

    @property
    def encoders(self) -> list[nn.Module]:
        """The text encoders."""
        parts = [getattr(self._pipe, name) for name in self.weights if name.startswith("text_encoder")]
        return [part for part in parts if part is not None]

    def encode(self, prompt: str, device: torch.device) -> Text:
        """One prompt, "" for the unconditional half of guidance."""
        raise NotImplementedError

    def predict(self, x: Tensor, t: float, text: Text) -> Tensor:
        """The denoiser's output (N, C, h, w) for latents x (N, C, h, w) at time t: one call, without guidance."""
        return self._pipe.unet(x, t, **self.unet_arguments(text), return_dict=False)[0]

    def unet_arguments(self, text: Text) -> dict[str, Any]:
        """The arguments of a UNet besides latents and time."""
        return {"encoder_hidden_states": text.tokens}

    @classmethod
    def text_sizes(cls, configs: Mapping[str, Any]) -> dict[str, tuple[bool, int]]:
        """Keys of the denoiser's config that depend on its text encoders: (whether it fits, what they give).

        configs: of each part that has weights.
        """
        unet, width = configs["unet"], sum(configs[name].hidden_size for name in cls.weights if name in CLIPS)
        if unet.encoder_hid_dim is not None:  # a layer between them
            return {}
        wanted = unet.cross_attention_dim
        return {
            "cross_attention_dim": (
                {*(wanted if isinstance(wanted, list | tuple) else [wanted])} == {width},
                width,
            )
        }

    @classmethod
    def sampler(
        cls, scheduler: Mapping[str, Any], denoiser: Mapping[str, Any], steps: int, eta: float
    ) -> Sampler:
        """The sampler of a model, from the configs of its scheduler and its denoiser.

        Raises UserError where steps or eta are out of range, or the scheduler is not one of this family.
        """
        return ddim_of(scheduler, steps, eta)


class StableDiffusion(Family):
    """Stable Diffusion 1.x and 2.x: the last hidden states of one text encoder."""

    pipeline = StableDiffusionPipeline
    without: ClassVar[dict[str, Any]] = {
        "safety_checker": None,
        "requires_safety_checker": False,
        **Family.without,
    }
    weights = ("text_encoder", "unet", "vae")
    tokenizers = ("tokenizer",)

    def encode(self, prompt: str, device: torch.device) -> Text:
        return Text(self._pipe.encode_prompt(prompt, device, 1, do_classifier_free_guidance=False)[0])


class StableDiffusionXL(Family):
    """SDXL (arXiv 2307.01952): two text encoders side by side, the second one's pooled vector, and the image's size.

    The size is the one that the model was trained on, uncropped, as in the pipeline's default. Where the pipeline's
    config has force_zeros_for_empty_prompt, as published, the empty prompt is encoded as zeros.
    """

    pipeline = StableDiffusionXLPipeline
    weights = ("text_encoder", "text_encoder_2", "unet", "vae")
    tokenizers = ("tokenizer", "tokenizer_2")

    def __init__(self, pipe: Any):
        super().__init__(pipe)
        height, width = (pipe.vae_scale_factor * side for side in latent_size(pipe.unet.config))
        self._size = (height, width, 0, 0, height, width)  # original size, corner of the crop, target size

    def encode(self, prompt: str, device: torch.device) -> Text:
        tokens, _, pooled, _ = self._pipe.encode_prompt(
            prompt, device=device, num_images_per_prompt=1, do_classifier_free_guidance=False
        )
        if prompt == "" and self._pipe.config.force_zeros_for_empty_prompt:
            tokens, pooled = torch.zeros_like(tokens), torch.zeros_like(pooled)
        return Text(tokens, pooled)

    @classmethod
    def text_sizes(cls, configs: Mapping[str, Any]) -> dict[str, tuple[bool, int]]:
        unet, key = configs["unet"], "projection_class_embeddings_input_dim"
        if unet.addition_embed_type != "text_time":
            return {"addition_embed_type": (False, configs["text_encoder_2"].projection_dim)}
        pooled = configs["text_encoder_2"].projection_dim + 6 * unet.addition_time_embed_dim
        return {**super().text_sizes(configs), key: (unet[key] == pooled, pooled)}

    def unet_arguments(self, text: Text) -> dict[str, Any]:
        size = torch.tensor([self._size], dtype=text.tokens.dtype, device=text.tokens.device)
        added = {"text_embeds": text.pooled, "time_ids": size.repeat(len(text.tokens), 1)}
        return {"encoder_hidden_states": text.tokens, "added_cond_kwargs": added}


class StableDiffusion3(Family):
    """Stable Diffusion 3 and 3.5 (arXiv 2403.03206): a transformer that matches a flow.

    Its prompts are the tokens of two CLIP encoders and of T5, and the pooled vectors of the CLIP encoders. T5 may be
    missing. Its tokens are then zeros, here as many as a CLIP encoder has. Their number differs between versions of
    diffusers, so a plain pipeline needs `max_sequence_length` to generate the same images.
    """

    pipeline = StableDiffusion3Pipeline
    denoiser = "transformer"
    weights = ("text_encoder", "text_encoder_2", "text_encoder_3", "transformer", "vae")
    tokenizers = ("tokenizer", "tokenizer_2", "tokenizer_3")
    optional = ("text_encoder_3", "tokenizer_3")
    flow = True

    T5_TOKENS: ClassVar[int] = 256  # the pipeline's default

    def encode(self, prompt: str, device: torch.device) -> Text:
        pipe = self._pipe
        tokens, _, pooled, _ = pipe.encode_prompt(
            prompt,
            prompt,
            prompt,
            device=device,
            num_images_per_prompt=1,
            do_classifier_free_guidance=False,
            max_sequence_length=self.T5_TOKENS if pipe.text_encoder_3 else pipe.tokenizer_max_length,
        )
        return Text(tokens, pooled)

    def predict(self, x: Tensor, t: float, text: Text) -> Tensor:
        return self._pipe.transformer(
            hidden_states=x,
            timestep=torch.full((len(x),), t, dtype=torch.float32, device=x.device),
            encoder_hidden_states=text.tokens,
            pooled_projections=text.pooled,
            return_dict=False,
        )[0]

    @classmethod
    def text_sizes(cls, configs: Mapping[str, Any]) -> dict[str, tuple[bool, int]]:
        transformer, t5 = configs["transformer"], configs.get("text_encoder_3")
        clips = [configs[name] for name in CLIPS]
        width, pooled = (
            sum(getattr(clip, key) for clip in clips) for key in ("hidden_size", "projection_dim")
        )
        joint = transformer.joint_attention_dim
        # the tokens of CLIP are filled up with zeros to the width of T5's
        fits = width <= joint and (t5 is None or t5.d_model == joint)
        return {
            "joint_attention_dim": (fits, t5.d_model if t5 and width <= joint else width),
            "pooled_projection_dim": (transformer.pooled_projection_dim == pooled, pooled),
        }

    @classmethod
    def sampler(
        cls, scheduler: Mapping[str, Any], denoiser: Mapping[str, Any], steps: int, eta: float
    ) -> Sampler:
        height, width = (side // denoiser["patch_size"] for side in latent_size(denoiser))
        return flow_of(scheduler, steps, eta, tokens=height * width)


FAMILIES: dict[str, type[Family]] = {
    family.pipeline.__name__: family for family in (StableDiffusion, StableDiffusionXL, StableDiffusion3)
}


def family_called(pipeline: object, where: str) -> type[Family]:
    """The family of a pipeline class, by its name in model_index.json.

    Raises UserError for any other class, and for one that comes with code of its own.
    """
    if not isinstance(pipeline, str) or pipeline not in FAMILIES:
        raise UserError(
            f"this model is a {str(pipeline)[:100]}, which cannot be trained here",
            where=where,
            hint=f"choose a model whose model_index.json has _class_name {' or '.join(FAMILIES)}",
        )
    return FAMILIES[pipeline]
