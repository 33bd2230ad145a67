"""Stages `flow` and `flow-web`: a transformer that matches a flow, with its text encoder, on the data of the UNet.

The velocity loss of flow matching (arXiv 2210.02747), for times whose logit is normally distributed, as in Stable
Diffusion 3 (arXiv 2403.03206). The distribution is wider than theirs and lies at higher noise [ours]: drawn
uniformly, s has a logistic logit (deviation 1.8), and this loss then weighs the noise levels nearly as the stages
`denoiser` and `web` do, whose weights made the colours of a caption count.

Stage `flow` trains on plain renders with true captions, stage `flow-web` its result on web-like data: the scenes and
captions of the stages `denoiser` and `web`. The autoencoder and the words are theirs, too.
"""

from __future__ import annotations

import shutil

import torch
from diffusers import (
    AutoencoderKL,
    FlowMatchEulerDiscreteScheduler,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
)
from torch import Tensor, nn
from transformers import CLIPTextModelWithProjection, CLIPTokenizer

from ril_bench.worlds.shapes.train.common import Recipe, halves
from ril_bench.worlds.shapes.train.denoiser import WIDTH, Pairs, plain_pairs, text_config, web_pairs
from ril_bench.worlds.shapes.train.fit import Batches, fit

TIMESTEPS = 1000
LOGIT_MEAN, LOGIT_DEVIATION = 0.4, 1.3
#: the noise before the last step; in diffusers' own schedule it is 0.001, so the step that ends there has noise of that
#: size, and its density would outweigh those of all others
LAST = 0.1


def build_transformer() -> SD3Transformer2DModel:
    """The transformer of Stable Diffusion 3 with as many weights as the UNet; each block begins as the identity."""
    net = SD3Transformer2DModel(
        sample_size=16,
        patch_size=2,
        in_channels=4,
        out_channels=4,
        num_layers=5,
        attention_head_dim=32,
        num_attention_heads=4,
        caption_projection_dim=128,
        joint_attention_dim=2 * WIDTH,
        pooled_projection_dim=2 * WIDTH,
        pos_embed_max_size=16,
        qk_norm="rms_norm",
    )
    # As in DiT (arXiv 2212.09748): zero gates, and an output of zero.
    modulations = [
        layer
        for name, layer in net.named_modules()
        if name.endswith(("norm1.linear", "norm1_context.linear"))
    ]
    for layer in [*modulations, net.norm_out.linear, net.proj_out]:
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
    return net


def build_text_encoder(words: CLIPTokenizer) -> CLIPTextModelWithProjection:
    config = text_config(words)
    config.projection_dim = WIDTH
    return CLIPTextModelWithProjection(config)


def schedule() -> FlowMatchEulerDiscreteScheduler:
    return FlowMatchEulerDiscreteScheduler(num_train_timesteps=TIMESTEPS, shift=1.0, shift_terminal=LAST)


def embedded(encoder: nn.Module, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """(tokens, pooled) of prompts as the pipeline embeds them: this encoder stands for both, and T5 is missing.

    The hidden states before the last layer are put twice side by side, and zeros stand for T5's tokens.
    """
    found = encoder(tokens, output_hidden_states=True)
    hidden, pooled = found.hidden_states[-2], found.text_embeds
    twice = torch.cat([hidden, hidden], dim=-1)
    return torch.cat([twice, torch.zeros_like(twice)], dim=1), torch.cat([pooled, pooled], dim=-1)


def train(recipe: Recipe) -> None:
    """Stage `flow`: from random weights, on plain renders with true captions."""
    torch.manual_seed(65)
    words = CLIPTokenizer.from_pretrained(recipe.pipeline / "tokenizer")
    net = nn.ModuleDict({"transformer": build_transformer(), "text": build_text_encoder(words)})
    _fit(recipe, "flow", net, plain_pairs(recipe), updates=recipe.scaled(12_000), lr=1e-3, ema=0.999)


def train_on_web(recipe: Recipe) -> None:
    """Stage `flow-web`: from the weights of stage `flow`, on web-like renders and captions."""
    torch.manual_seed(66)
    folder = recipe.flow_pipeline
    transformer = SD3Transformer2DModel.from_pretrained(folder / "transformer", torch_dtype=torch.float32)
    text = CLIPTextModelWithProjection.from_pretrained(folder / "text_encoder", torch_dtype=torch.float32)
    net = nn.ModuleDict({"transformer": transformer.train(), "text": text.train()})
    _fit(recipe, "flow-web", net, web_pairs(recipe), updates=recipe.scaled(1500), lr=3e-4, ema=0.995)


def _fit(
    recipe: Recipe, stage: str, net: nn.ModuleDict, pairs: Pairs, *, updates: int, lr: float, ema: float
) -> None:
    """Trains the transformer and the text encoder of `net` on latents and captions, and saves them."""
    batch = recipe.scaled(32)
    draw = Batches(len(pairs.latents), batch, seed=62)

    def loss_of(update: int) -> Tensor:
        chosen = draw[update]
        x0, noise = pairs.latents[chosen], torch.randn(batch, 4, 16, 16).to(recipe.device)
        s = torch.sigmoid(LOGIT_MEAN + LOGIT_DEVIATION * torch.randn(batch)).to(recipe.device)
        tokens, pooled = embedded(net["text"], pairs.shown(chosen))
        level = s[:, None, None, None]
        x = (1 - level) * x0 + level * noise
        predicted = net["transformer"](x, tokens, pooled, TIMESTEPS * s, return_dict=False)[0]
        return (predicted - (noise - x0)).square().mean()

    def snapshot(update: int, averaged: nn.ModuleDict) -> None:
        if update % 500 == 0 or update == updates:
            save(averaged["transformer"], averaged["text"], recipe)

    fit(recipe, stage, net.to(recipe.device), loss_of, updates=updates, lr=lr, ema=ema, on_log=snapshot)


def save(transformer: nn.Module, text: nn.Module, recipe: Recipe) -> None:
    """Writes the parts in half precision, in the layout of a StableDiffusion3Pipeline without T5."""
    folder, words = recipe.flow_pipeline, CLIPTokenizer.from_pretrained(recipe.pipeline / "tokenizer")
    fresh, encoder = build_transformer(), build_text_encoder(words)
    fresh.load_state_dict(halves(transformer.state_dict()))
    encoder.load_state_dict(halves(text.state_dict()))
    pipe = StableDiffusion3Pipeline(
        transformer=fresh,
        scheduler=schedule(),
        # the pipeline adds the shift, so it must be a number
        vae=AutoencoderKL.from_pretrained(recipe.pipeline / "vae", shift_factor=0.0),
        text_encoder=encoder,
        tokenizer=words,
        text_encoder_2=encoder,
        tokenizer_2=words,
        text_encoder_3=None,
        tokenizer_3=None,
    )
    for part in ("transformer", "text_encoder", "text_encoder_2", "vae"):
        getattr(pipe, part).half().save_pretrained(folder / part)
    for part in ("tokenizer", "tokenizer_2"):
        shutil.copytree(recipe.pipeline / "tokenizer", folder / part, dirs_exist_ok=True)
    pipe.scheduler.save_pretrained(folder / "scheduler")
    pipe.save_config(folder)
