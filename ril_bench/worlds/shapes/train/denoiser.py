"""Stage `denoiser`: the UNet and its text encoder, trained together on web-like images and captions.

Real models are pretrained on scraped images: faint or cluttered ones among them, with captions that are partly wrong.
So a sample of a real model is fainter, more cluttered and less faithful than what a person asks for, guidance repairs
a part of it, and a reward has room to rise. The web-like data have these three faults, each with a known strength:

- the objects' contrast to the background is drawn from `WEB_CLARITY`;
- 0 to 4 small marks that no caption names lie behind the objects;
- a share `WRONG` of the captions is wrong, in about half of the attributes.

DDPM's noise-prediction loss (arXiv 2006.11239) on Stable Diffusion's schedule, weighted by SNR^(-1/2) within bounds.
Without these weights, the colours in a caption hardly lower the loss: even at high noise, the noisy latents almost show
a flat colour, because it is a mean over all latents. Tried without these weights: after 2,500 updates only 28% of the
backgrounds were right. One caption in ten is dropped, for guidance (arXiv 2207.12598).
"""

from __future__ import annotations

import random

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from ril_bench.worlds.shapes.captions import Caption
from ril_bench.worlds.shapes.renderer import Scene
from ril_bench.worlds.shapes.train import tokenizer
from ril_bench.worlds.shapes.train.common import Recipe, batches, fit, halves
from ril_bench.worlds.shapes.train.data import changed, rendered, scenes, varied

WIDTH = 96
DROPPED, WRONG = 0.1, 0.3
WEB_CLARITY = (0.35, 1.0)
WEIGHTS_OF_NOISE = (0.1, 8.0)


def build_unet() -> UNet2DConditionModel:
    # No attention at 16x16: it would double the cost of a call and hardly helps at this size.
    return UNet2DConditionModel(
        sample_size=16,
        in_channels=4,
        out_channels=4,
        block_out_channels=(32, 48, 96),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=WIDTH,
        attention_head_dim=4,
        norm_num_groups=8,
    )


def build_text_encoder(words: CLIPTokenizer) -> CLIPTextModel:
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(words),
            hidden_size=WIDTH,
            intermediate_size=2 * WIDTH,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=tokenizer.CONTEXT,
            bos_token_id=words.bos_token_id,
            eos_token_id=words.eos_token_id,
            pad_token_id=words.pad_token_id,
        )
    )


def schedule() -> DDIMScheduler:
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )


@torch.no_grad()
def encoded(recipe: Recipe, count: int, seed: int) -> tuple[Tensor, list[str]]:
    """Latents (N, 4, 16, 16) of web-like images, scaled for the denoiser, and their captions."""
    vae = AutoencoderKL.from_pretrained(recipe.pipeline / "vae", torch_dtype=torch.float32).eval()
    some = varied(scenes(count, seed), seed, WEB_CLARITY)
    parts = [vae.encode(rendered(some[i : i + 64]) * 2 - 1).latent_dist.mean for i in range(0, count, 64)]
    texts = [str(caption) for caption in web_captions(some, seed)]
    return torch.cat(parts) * vae.config["scaling_factor"], texts


def web_captions(some: list[Scene], seed: int) -> list[Caption]:
    """Captions of scenes, of which a share `WRONG` is wrong."""
    words = random.Random(seed)
    return [changed(scene.caption, words) if words.random() < WRONG else scene.caption for scene in some]


def train(recipe: Recipe) -> None:
    updates, batch, pool = recipe.scaled(6000), recipe.scaled(32), recipe.scaled(32_000)
    torch.manual_seed(60)
    words = tokenizer.write(recipe.pipeline / "tokenizer")
    net = nn.ModuleDict({"unet": build_unet(), "text": build_text_encoder(words)})
    latents, texts = encoded(recipe, pool, seed=61)
    tokens = torch.tensor(words([*texts, ""], padding="max_length", truncation=True)["input_ids"])
    scheduler = schedule()
    snr = scheduler.alphas_cumprod / (1 - scheduler.alphas_cumprod)
    weight, draw = snr.rsqrt().clamp(*WEIGHTS_OF_NOISE), batches(pool, batch, seed=62)

    def loss_of(_: int) -> Tensor:
        chosen = next(draw)
        x0, noise = latents[chosen], torch.randn(batch, 4, 16, 16)
        t = torch.randint(0, scheduler.config["num_train_timesteps"], (batch,))
        shown = torch.where(torch.rand(batch) < DROPPED, len(texts), chosen)  # the last text is the empty one
        text = net["text"](tokens[shown]).last_hidden_state
        predicted = net["unet"](scheduler.add_noise(x0, noise, t), t, text).sample
        return (weight[t] * (predicted - noise).square().mean(dim=(1, 2, 3))).mean()

    def snapshot(update: int, averaged: nn.ModuleDict) -> None:
        if update % 500 == 0 or update == updates:
            save(averaged["unet"], averaged["text"], recipe)

    fit(recipe, "denoiser", net, loss_of, updates=updates, lr=1e-3, ema=0.999, on_log=snapshot)


def save(unet: UNet2DConditionModel, text: CLIPTextModel, recipe: Recipe) -> None:
    """Writes the parts in half precision, in the layout of a StableDiffusionPipeline."""
    folder = recipe.pipeline
    fresh_unet, fresh_text = build_unet(), CLIPTextModel(text.config)
    fresh_unet.load_state_dict(halves(unet.state_dict()))
    fresh_text.load_state_dict(halves(text.state_dict()))
    pipe = StableDiffusionPipeline(
        vae=AutoencoderKL.from_pretrained(folder / "vae"),
        text_encoder=fresh_text,
        tokenizer=CLIPTokenizer.from_pretrained(folder / "tokenizer"),
        unet=fresh_unet,
        scheduler=schedule(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    fresh_unet.half().save_pretrained(folder / "unet")
    fresh_text.half().save_pretrained(folder / "text_encoder")
    pipe.scheduler.save_pretrained(folder / "scheduler")
    pipe.save_config(folder)
