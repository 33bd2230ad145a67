"""The trainable model: a pipeline that denoises, decodes, encodes and has adapters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline
from torch import Tensor

from ril_bench.diffusion.adapter_spec import AdapterSpec
from ril_bench.diffusion.adapters import Adapters
from ril_bench.diffusion.families import Text, family_called, latent_size, resized
from ril_bench.diffusion.pipelines import load_pipeline
from ril_bench.diffusion.steps import Sampler
from ril_bench.machine.compute import PLAIN, Compute

__all__ = ["AdapterSpec", "DiffusionModel"]

# How many embeddings are cached: 1 GB for Stable Diffusion 1.5 in float32, 2.6 GB for SDXL
PROMPTS_CACHED = 4096


class _Clamp(torch.autograd.Function):
    """Clamp to [0, 1] whose gradient is 1 everywhere; the true gradient is 0 at saturated pixels. [ours]"""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clamp(0, 1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient


class DiffusionModel(Adapters):
    """A pipeline of diffusers in evaluation mode; everything is frozen except the adapters that train.

    The pipeline is a `StableDiffusionPipeline` (SD 1.x and 2.x), a `StableDiffusionXLPipeline` or a
    `StableDiffusion3Pipeline`. Its configs state whether the denoiser predicts noise or a velocity; `sampler` gives the
    steps that fit.

    Attributes:
        device: where the model runs.
        latent_shape: (C, h, w) of one sample.
        counter: the number of calls so far, by (kind, with gradient, batch). The kinds are "denoiser", where a guided
            call has twice the batch of its latents; "denoiser chained", where the latents carry a gradient too, as in
            DRaFT-K for K > 1; "denoiser to latents", where only the latents do, on folded weights; "decode" and
            "encode". Calls that gradient checkpointing repeats are not counted.

    Raises:
        UserError: the pipeline is of another class.
    """

    def __init__(
        self,
        pipe: DiffusionPipeline,
        *,
        adapter: AdapterSpec,
        device: torch.device | str = "cpu",
        compute: Compute = PLAIN,
    ):
        self.pipe = pipe.to(device)
        self.device = torch.device(device)
        self.dtype, self.vae_dtype = (getattr(torch, name) for name in (compute.dtype, compute.vae_dtype))
        self._family = family_called(type(pipe).__name__, where="the pipeline")(pipe)
        denoiser = getattr(pipe, self._family.denoiser)
        for part in (denoiser, pipe.vae, *self._family.encoders):
            part.requires_grad_(False).eval()
            dtype = self.vae_dtype if part is pipe.vae else self.dtype
            if part.dtype != dtype:
                part.to(dtype)
        for part in (denoiser, pipe.vae):
            part.to(memory_format=torch.channels_last)  # faster on GPUs, and on CPUs too
        if compute.checkpointing:
            denoiser.enable_gradient_checkpointing()
            pipe.vae.enable_gradient_checkpointing()
        if compute.slicing:
            pipe.vae.enable_slicing()
        super().__init__(denoiser, adapter, prefix=f"{self._family.denoiser}.")

        self.latent_shape: tuple[int, int, int] = (denoiser.config.in_channels, *latent_size(denoiser.config))
        self.counter: Counter[tuple[str, bool, int]] = Counter()
        self._encode = lru_cache(maxsize=PROMPTS_CACHED)(self._encode_one)

    @classmethod
    def load(
        cls,
        folder: str | Path,
        *,
        adapter: AdapterSpec,
        device: torch.device | str = "cpu",
        compute: Compute = PLAIN,
        size: int | None = None,
    ) -> DiffusionModel:
        """Loads the model from a folder in diffusers' format.

        Only safetensors are read; nothing is unpickled.

        Args:
            size: the side of the images in pixels; by default the size that the model was trained on.

        Raises UserError where the folder has no pipeline, or a pipeline that is not supported, or the size does not
        fit.
        """
        pipe = load_pipeline(Path(folder), compute)
        if size is not None:
            denoiser = getattr(pipe, family_called(type(pipe).__name__, where="the pipeline").denoiser)
            denoiser.register_to_config(**resized(denoiser.config, pipe.vae.config, size))
        return cls(pipe, adapter=adapter, device=device, compute=compute)

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) of the images, in pixels."""
        _, height, width = self.latent_shape
        return height * self.pipe.vae_scale_factor, width * self.pipe.vae_scale_factor

    def sampler(self, steps: int, eta: float) -> Sampler:
        """The sampler of the model.

        Raises UserError where steps or eta are out of range, or the model's scheduler takes other steps.
        """
        return self._family.sampler(self.pipe.scheduler.config, self.denoiser.config, steps, eta)

    def embed(self, prompts: Sequence[str]) -> Tensor:
        """The text embeddings (N, L, D) of the prompts; "" is allowed.

        Each prompt is encoded once and cached.
        """
        return self._texts(prompts).tokens

    def _texts(self, prompts: Sequence[str]) -> Text:
        return Text.of([self._encode(prompt) for prompt in prompts])

    @torch.no_grad()
    def _encode_one(self, prompt: str) -> Text:
        # Each prompt is a batch of one: results differ in the last bit between batch sizes, and a resume encodes
        # other batches.
        return self._family.encode(prompt, self.device)

    def predict(self, x: Tensor, t: float, prompts: Sequence[str], guidance: float) -> Tensor:
        """The guided output (N, C, h, w), fp32, of the denoiser for latents x (N, C, h, w) at time t.

        The output is noise or a velocity; the sampler knows which. It is

            out = out(x, "") + guidance (out(x, prompt) - out(x, "")),

        both halves in one batch; with guidance 1 the unconditional half is left out (classifier-free guidance, arXiv
        2207.12598). Where autograd is on and an adapter trains, the adapters are live and the output has a graph.
        Otherwise the active adapters are folded into the weights. Inside a `folded` context the folded weights are used
        in either case.
        """
        guided = guidance != 1.0
        texts = [*([""] * len(prompts) if guided else []), *prompts]
        inputs = torch.cat([x, x]) if guided else x
        if self._trained and torch.is_grad_enabled():
            out = self.denoise(inputs, t, texts)
        else:
            with self.folded_once():
                out = self.denoise(inputs, t, texts)
        if guided:
            uncond, cond = out.chunk(2)
            out = uncond + guidance * (cond - uncond)
        return self.watch(out)

    def denoise(self, x: Tensor, t: float, prompts: Sequence[str]) -> Tensor:
        """The output (N, C, h, w), fp32, for latents (N, C, h, w) at time t: one call, without guidance."""
        out = self._family.predict(x.to(self.dtype), t, self._texts(prompts)).float()
        # A gradient to the latents (in a chain of steps) runs through every layer, so it costs more.
        to_latents = "denoiser to latents" if self.is_folded else "denoiser chained"
        chained = (
            x.requires_grad and out.requires_grad
        )  # after a live step, latents of a call without gradient ask for one
        self.counter[to_latents if chained else "denoiser", out.requires_grad, len(x)] += 1
        return out

    def decode(self, latents: Tensor) -> Tensor:
        """The images (N, 3, H, W), fp32, in [0, 1], of latents (N, C, h, w); the clamp passes gradients."""
        vae, of_channels = self.pipe.vae, self._of_channels
        if of_channels is None:
            latents = latents / vae.config.scaling_factor + self._shift
        else:
            mean, std = of_channels
            latents = latents * std / vae.config.scaling_factor + mean
        latents = latents.to(self.vae_dtype)
        images = vae.decode(latents, return_dict=False)[0].float()
        self.counter["decode", images.requires_grad, len(images)] += 1
        return _Clamp.apply(images / 2 + 0.5)

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        """The latents (N, C, h, w), fp32, of images (N, 3, H, W) in [0, 1]: the mode of the encoder's distribution.

        A tiny autoencoder has no distribution; its latents are used. The inverse of `decode`.
        """
        self.counter["encode", False, len(images)] += 1
        found = self.pipe.vae.encode((2 * images - 1).to(self.vae_dtype))
        latents = found.latent_dist.mode() if hasattr(found, "latent_dist") else found.latents
        factor, of_channels = self.pipe.vae.config.scaling_factor, self._of_channels
        if of_channels is None:
            return (latents.float() - self._shift) * factor
        mean, std = of_channels
        return (latents.float() - mean) * factor / std

    @cached_property
    def _shift(self) -> float:
        """The mean of the latents before they are scaled, where the autoencoder states one (SD 3)."""
        return self.pipe.vae.config.get("shift_factor") or 0.0

    @cached_property
    def _of_channels(self) -> tuple[Tensor, Tensor] | None:
        """(mean, deviation) of each channel of the latents, where the autoencoder states them [code: diffusers]."""
        mean, std = (self.pipe.vae.config.get(f"latents_{name}") for name in ("mean", "std"))
        if mean is None or std is None:
            return None
        channels = [torch.tensor(values, device=self.device).view(1, -1, 1, 1) for values in (mean, std)]
        return channels[0], channels[1]
