"""Stages `denoiser` and `web`: the UNet and its text encoder, trained together on latents of renders.

DDPM's noise-prediction loss (arXiv 2006.11239) on Stable Diffusion's schedule, weighted by SNR^(-1/2) within bounds.
Without these weights, the colours in a caption hardly lower the loss: even at high noise, the noisy latents almost show
a flat colour, because it is a mean over all latents. Tried without these weights: after 2,500 updates only 28% of the
backgrounds were right. One caption in ten is dropped, for guidance (arXiv 2207.12598).

Stage `denoiser` trains on plain renders with true captions. Stage `web` trains its result on web-like data. Real
models are pretrained on scraped images: faint or cluttered ones among them, with captions that are partly wrong. So a
sample of a real model is fainter, more cluttered and less faithful than what a person asks for, guidance repairs a part
of it, and a reward has room to rise. The web-like data have these three faults, each with a known strength:

- the objects' contrast to the background is drawn from `WEB_CLARITY`;
- 0 to 4 small marks that no caption names lie behind the objects;
- a share `WRONG` of the captions is wrong, in about half of the attributes.

Tried instead: web-like data from the first update on, with a smaller UNet. Its shapes were still wrong after 3,000
updates of 32 (attributes .51 at guidance 1, .68 at guidance 3).
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
        block_out_channels=(48, 64, 96),
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
def encoded(recipe: Recipe, some: list[Scene]) -> Tensor:
    """Latents (N, 4, 16, 16) of the scenes' renders, scaled for the denoiser."""
    vae = AutoencoderKL.from_pretrained(recipe.pipeline / "vae", torch_dtype=torch.float32).eval()
    parts = [vae.encode(rendered(some[i : i + 64]) * 2 - 1).latent_dist.mean for i in range(0, len(some), 64)]
    return torch.cat(parts) * vae.config["scaling_factor"]


def web_captions(some: list[Scene], seed: int) -> list[Caption]:
    """Captions of scenes, of which a share `WRONG` is wrong."""
    words = random.Random(seed)
    return [changed(scene.caption, words) if words.random() < WRONG else scene.caption for scene in some]


def train(recipe: Recipe) -> None:
    """Stage `denoiser`: from random weights, on plain renders with true captions."""
    torch.manual_seed(60)
    words = tokenizer.write(recipe.pipeline / "tokenizer")
    net = nn.ModuleDict({"unet": build_unet(), "text": build_text_encoder(words)})
    some = scenes(recipe.scaled(32_000), seed=61)
    captions = [scene.caption for scene in some]
    _fit(recipe, "denoiser", net, some, captions, updates=recipe.scaled(8000), lr=1e-3, ema=0.999)


def train_on_web(recipe: Recipe) -> None:
    """Stage `web`: from the weights of stage `denoiser`, on web-like renders and captions."""
    torch.manual_seed(63)
    pipe = StableDiffusionPipeline.from_pretrained(recipe.pipeline, torch_dtype=torch.float32)
    net = nn.ModuleDict({"unet": pipe.unet.train(), "text": pipe.text_encoder.train()})
    some = varied(scenes(recipe.scaled(16_000), seed=64), 64, WEB_CLARITY)
    captions = web_captions(some, seed=64)
    _fit(recipe, "web", net, some, captions, updates=recipe.scaled(1000), lr=3e-4, ema=0.995)


def _fit(
    recipe: Recipe,
    stage: str,
    net: nn.ModuleDict,
    some: list[Scene],
    captions: list[Caption],
    *,
    updates: int,
    lr: float,
    ema: float,
) -> None:
    """Trains the UNet and the text encoder of `net` on scenes and their captions, and saves them."""
    batch, latents, texts = recipe.scaled(32), encoded(recipe, some), [str(caption) for caption in captions]
    words = CLIPTokenizer.from_pretrained(recipe.pipeline / "tokenizer")
    tokens = torch.tensor(words([*texts, ""], padding="max_length", truncation=True)["input_ids"])
    scheduler = schedule()
    snr = scheduler.alphas_cumprod / (1 - scheduler.alphas_cumprod)
    weight, draw = snr.rsqrt().clamp(*WEIGHTS_OF_NOISE), batches(len(some), batch, seed=62)

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

    fit(recipe, stage, net, loss_of, updates=updates, lr=lr, ema=ema, on_log=snapshot)


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
