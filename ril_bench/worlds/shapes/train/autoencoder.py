"""Stage `autoencoder`: 64x64 images to 4x16x16 latents and back. Stage `decoder`: the way back, refined.

Loss: L1 and squared error on pixels (the latter for the colour of small objects), L1 on their differences (edges),
a faint KL. The second stage freezes the encoder, so that the denoiser can already train on its latents meanwhile.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Tensor, nn

from ril_bench.worlds.shapes import WEIGHTS
from ril_bench.worlds.shapes.train.common import batches, fit, halves, images, images8, log, scenes

FOLDER = WEIGHTS / "pipeline" / "vae"
KL_WEIGHT = 3e-4
HALF = torch.autocast("cpu", torch.bfloat16)  # 1.7 times as fast where the processor has bf16 products
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


def reconstruction_loss(made: Tensor, true: Tensor) -> Tensor:
    """Pixels and their horizontal and vertical differences; both in [-1, 1]."""
    edges = sum((F.l1_loss(made.diff(dim=d), true.diff(dim=d)) for d in (2, 3)), torch.zeros(()))
    return F.l1_loss(made, true) + SQUARE_WEIGHT * F.mse_loss(made, true) + EDGE_WEIGHT * edges


def train(updates: int = 4500, batch: int = 16) -> None:
    torch.manual_seed(0)
    vae = build()
    pool, draw = images8(16_000, seed=1), batches(16_000, batch, seed=2)

    def loss_of(_: int) -> Tensor:
        x = pool[next(draw)].float() / 127.5 - 1
        with HALF:
            latents = vae.encode(x).latent_dist
            made = vae.decode(latents.sample()).sample.float()
        kl = latents.kl().float().mean() / latents.mean[0].numel()
        return reconstruction_loss(made, x) + KL_WEIGHT * kl

    vae = fit("autoencoder", vae, loss_of, updates=updates, lr=2e-3, weight_decay=0.0)
    with torch.no_grad():
        means = torch.cat(
            [vae.encode(pool[i : i + 64].float() / 127.5 - 1).latent_dist.mean for i in range(0, 2048, 64)]
        )
    # Stable Diffusion's convention: latents are scaled to unit variance before the denoiser sees them.
    vae.register_to_config(scaling_factor=round(1 / means.std().item(), 5))
    save(vae)


def refine(updates: int = 2500, batch: int = 16) -> None:
    """The decoder alone, on latents of the frozen encoder with a little noise, as a sampler leaves them."""
    vae = AutoencoderKL.from_pretrained(FOLDER, torch_dtype=torch.float32)
    pool, draw = images8(16_000, seed=3), batches(16_000, batch, seed=4)
    way_back = nn.ModuleList([vae.post_quant_conv, vae.decoder])

    def loss_of(_: int) -> Tensor:
        x = pool[next(draw)].float() / 127.5 - 1
        with torch.no_grad():
            z = vae.encode(x).latent_dist.mean
            z = z + 0.03 / vae.config["scaling_factor"] * torch.randn_like(z)
        with HALF:
            made = vae.decode(z).sample.float()
        return reconstruction_loss(made, x)

    vae.post_quant_conv, vae.decoder = fit(
        "decoder", way_back, loss_of, updates=updates, lr=1e-3, weight_decay=0.0
    )
    save(vae)


def save(vae: AutoencoderKL) -> None:
    vae.load_state_dict({k: v.float() for k, v in halves(vae.state_dict()).items()})
    held_out = images(scenes(256, seed=5, held_out=True)) * 2 - 1
    with torch.no_grad():
        made = vae.decode(vae.encode(held_out).latent_dist.mean).sample
    log("autoencoder", held_out_l1=F.l1_loss(made, held_out).item() / 2)
    vae.half().save_pretrained(FOLDER)
