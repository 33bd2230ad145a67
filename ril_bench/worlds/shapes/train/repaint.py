"""Images as the world's denoiser paints them, of scenes that are known.

A classifier or a reward that has seen renders only misjudges what a generator paints. A sample has no true scene, but
a repainted render has: its latents get noise up to a middle step of the sampler, and the denoiser removes the noise
again, with the scene's caption (SDEdit, arXiv 2108.01073).
"""

from __future__ import annotations

import torch
from torch import Tensor

from ril_bench.diffusion.model import AdapterSpec, DiffusionModel
from ril_bench.diffusion.sampler import latent_noise, predict_step
from ril_bench.diffusion.steps import Sampler
from ril_bench.draws import Draws
from ril_bench.worlds.shapes.renderer import Scene
from ril_bench.worlds.shapes.train.common import Recipe
from ril_bench.worlds.shapes.train.data import rendered, rendered8

STEPS, ETA, FLOW_ETA = 8, 1.0, 0.7  # of the shipped sequences
FIRST, LAST = 2, 6  # the range of the first step that is painted again; 0 would be a sample from noise
EVERY = 6  # one image in so many of a training pool is repainted
BATCH = 32


def pool(recipe: Recipe, some: list[Scene], seed: int) -> Tensor:
    """8-bit images (N, 3, 64, 64) of scenes: one in `EVERY` is repainted, the others are renders."""
    images = rendered8(some)
    images[::EVERY] = repainted(recipe, some[::EVERY], seed)
    return images


@torch.no_grad()
def repainted(recipe: Recipe, some: list[Scene], seed: int) -> Tensor:
    """8-bit images (N, 3, 64, 64): renders of scenes, repainted from a random step on."""
    model = DiffusionModel.load(recipe.pipeline, adapter=AdapterSpec(1, 1.0, ("to_q",)))
    sampler, draws = model.sampler(STEPS, ETA), Draws(("repaint", seed), range(len(some)))
    parts = [slice(i, i + BATCH) for i in range(0, len(some), BATCH)]
    images = [_repainted(model, sampler, some[part], draws[part]) for part in parts]
    return (torch.cat(images) * 255).round().byte()


def _repainted(model: DiffusionModel, sampler: Sampler, some: list[Scene], draws: Draws) -> Tensor:
    vae, prompts = model.pipe.vae, [str(scene.caption) for scene in some]
    first = draws.integers(FIRST, LAST + 1, "first")
    latents = vae.encode(rendered(some) * 2 - 1).latent_dist.mean * vae.config.scaling_factor
    x = sampler.noised(latents, latent_noise(model, draws, "noised"), first)
    for i in range(first, sampler.steps):
        prediction = predict_step(model, sampler, x, i, prompts, guidance=1.0)
        x = sampler.step(x, prediction.output, i, latent_noise(model, draws, "step", i))
    return model.decode(x)
