"""Stages `autoencoder` (64x64 images to 4x16x16 latents and back) and `decoder`.

The loss has L1 and squared error on pixels (the latter for the colour of small objects), L1 on their differences
(edges), and a small KL term. The second stage freezes the encoder, so the denoiser can train on its latents at the
same time.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Tensor, nn

from ril_bench.worlds.shapes.train.common import Recipe, batches, fit, halves
from ril_bench.worlds.shapes.train.data import rendered, rendered8, scenes

KL_WEIGHT = 3e-4
HALF = torch.autocast("cpu", torch.bfloat16)  # 1.7 times as fast if the processor has bf16 products
EDGE_WEIGHT, SQUARE_WEIGHT = 0.7, 2.0


def build() -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(16, 32, 64),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        latent_channels=4,
        layers_per_block=1,
        norm_num_groups=8,
        mid_block_add_attention=False,
        sample_size=64,
    )


def reconstruction_loss(decoded: Tensor, true: Tensor) -> Tensor:
    """The loss on pixels and on their horizontal and vertical differences; images in [-1, 1]."""
    edges = sum((F.l1_loss(decoded.diff(dim=d), true.diff(dim=d)) for d in (2, 3)), torch.zeros(()))
    return F.l1_loss(decoded, true) + SQUARE_WEIGHT * F.mse_loss(decoded, true) + EDGE_WEIGHT * edges


def train(recipe: Recipe) -> None:
    torch.manual_seed(0)
    vae = build()
    count = recipe.scaled(16_000)
    pool, draw = rendered8(scenes(count, 1)), batches(count, recipe.scaled(16), seed=2)

    def loss_of(_: int) -> Tensor:
        x = pool[next(draw)].float() / 127.5 - 1
        with HALF:
            latents = vae.encode(x).latent_dist
            decoded = vae.decode(latents.sample()).sample.float()
        kl = latents.kl().float().mean() / latents.mean[0].numel()
        return reconstruction_loss(decoded, x) + KL_WEIGHT * kl

    vae = fit(recipe, "autoencoder", vae, loss_of, updates=recipe.scaled(4500), lr=2e-3, weight_decay=0.0)
    with torch.no_grad():
        means = torch.cat(
            [vae.encode(part.float() / 127.5 - 1).latent_dist.mean for part in pool[:2048].split(64)]
        )
    # Stable Diffusion's convention: latents are scaled to unit variance before the denoiser sees them.
    vae.register_to_config(scaling_factor=round(1 / means.std().item(), 5))
    save(vae, recipe)


def refine(recipe: Recipe) -> None:
    """Trains only the decoder, on latents of the frozen encoder.

    The latents get a little noise, because a sampler's latents have some, too.
    """
    vae = AutoencoderKL.from_pretrained(recipe.pipeline / "vae", torch_dtype=torch.float32)
    count = recipe.scaled(16_000)
    pool, draw = rendered8(scenes(count, 3)), batches(count, recipe.scaled(16), seed=4)
    decoder = nn.ModuleList([vae.post_quant_conv, vae.decoder])

    def loss_of(_: int) -> Tensor:
        x = pool[next(draw)].float() / 127.5 - 1
        with torch.no_grad():
            z = vae.encode(x).latent_dist.mean
            z = z + 0.03 / vae.config["scaling_factor"] * torch.randn_like(z)
        with HALF:
            decoded = vae.decode(z).sample.float()
        return reconstruction_loss(decoded, x)

    vae.post_quant_conv, vae.decoder = fit(
        recipe, "decoder", decoder, loss_of, updates=recipe.scaled(2500), lr=1e-3, weight_decay=0.0
    )
    save(vae, recipe)


def save(vae: AutoencoderKL, recipe: Recipe) -> None:
    """Writes the weights in half precision, and logs the error on held-out renders."""
    vae.load_state_dict({k: v.float() for k, v in halves(vae.state_dict()).items()})
    held_out = rendered(scenes(recipe.scaled(256), seed=5, held_out=True)) * 2 - 1
    with torch.no_grad():
        decoded = vae.decode(vae.encode(held_out).latent_dist.mean).sample
    recipe.log("autoencoder", held_out_l1=F.l1_loss(decoded, held_out).item() / 2)
    vae.half().save_pretrained(recipe.pipeline / "vae")
