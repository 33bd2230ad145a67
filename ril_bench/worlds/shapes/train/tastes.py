"""Stages `aesthetic` and `preference`: rewards learn the stated tastes from images only."""

from __future__ import annotations

import random

import numpy as np
import torch
import torch.nn.functional as F
from open_clip import get_tokenizer
from scipy.stats import spearmanr
from torch import Tensor

from ril_bench.rewards.aesthetic import AestheticHead
from ril_bench.worlds.shapes import captions, tastes
from ril_bench.worlds.shapes.captions import Caption
from ril_bench.worlds.shapes.renderer import Scene, compose
from ril_bench.worlds.shapes.train import encoders
from ril_bench.worlds.shapes.train.classifier import weathered
from ril_bench.worlds.shapes.train.common import Recipe, batches, fit, write
from ril_bench.worlds.shapes.train.data import changed, rendered, scenes, varied
from ril_bench.worlds.shapes.train.repaint import pool

TIE = 0.08  # a smaller difference of the taste is a tie


@torch.no_grad()
def embeddings(recipe: Recipe, images: Tensor) -> Tensor:
    """Normalised image embeddings (N, 64) of images (N, 3, 64, 64), by the rewards' encoder."""
    model = encoders.open_folder(recipe.reward_encoder).eval()
    return torch.cat(
        [model.encode_image(encoders.prepared(part), normalize=True) for part in images.split(256)]
    )


def train_aesthetic(recipe: Recipe) -> None:
    """LAION's architecture on the frozen, normalised image embedding.

    The loss is the mean squared error to the rating.
    """
    torch.manual_seed(40)
    some = varied(scenes(recipe.scaled(16_000), seed=41), seed=41)
    inputs = embeddings(recipe, weathered(pool(recipe, some, seed=41).float() / 255))
    ratings = torch.tensor([tastes.aesthetic(scene) for scene in some])
    head = AestheticHead(encoders.EMBEDDING)
    draw = batches(len(inputs), recipe.scaled(256), seed=42)

    def loss_of(_: int) -> Tensor:
        chosen = next(draw)
        return F.mse_loss(head(inputs[chosen]).squeeze(1), ratings[chosen])

    head = fit(recipe, "aesthetic", head, loss_of, updates=recipe.scaled(3000), lr=2e-3, every=1000).eval()
    held_out = varied(scenes(recipe.scaled(2048), seed=43, held_out=True), seed=43)
    with torch.no_grad():
        scores = head(embeddings(recipe, rendered(held_out))).squeeze(1)
    rank = spearmanr(scores.numpy(), [tastes.aesthetic(scene) for scene in held_out]).statistic
    recipe.log("aesthetic", spearman_with_taste=float(rank))
    write(head.state_dict(), recipe.aesthetic)


def rivals(prompt: Caption, words: random.Random, places: np.random.Generator) -> tuple[Scene, Scene]:
    """Two scenes for one prompt: each faithful or with wrong attributes, of any clarity and clutter."""
    pair = []
    for _ in range(2):
        shown = prompt if words.random() < 0.5 else changed(prompt, words)
        pair.append(compose(shown, places))
    first, second = varied(pair, words.getrandbits(32))
    return first, second


def duels(count: int, seed: int, *, held_out: bool = False) -> tuple[list[Caption], list[Scene], list[Scene]]:
    """`count` prompts, for each the scene that the taste prefers, and the other scene. No ties."""
    words, places = random.Random(seed), np.random.default_rng(seed)
    prompts: list[Caption] = []
    won: list[Scene] = []
    lost: list[Scene] = []
    while len(prompts) < count:
        prompt = captions.draw(words, held_out=held_out, two=words.random() < 0.4)
        a, b = rivals(prompt, words, places)
        gap = tastes.preference(a, prompt) - tastes.preference(b, prompt)
        if abs(gap) < TIE:
            continue
        prompts.append(prompt)
        won.append(a if gap > 0 else b)
        lost.append(b if gap > 0 else a)
    return prompts, won, lost


def train_preference(recipe: Recipe) -> None:
    """HPSv2's recipe (arXiv 2306.09341) on the encoder of the rewards.

    The loss is the cross-entropy to the preferred image of each pair.
    """
    torch.manual_seed(50)
    prompts, won, lost = duels(recipe.scaled(12_000), seed=51)
    tokens = get_tokenizer(f"local-dir:{recipe.reward_encoder}")
    texts = tokens([str(prompt) for prompt in prompts])
    better, worse = (pool(recipe, some, seed) for seed, some in ((51, won), (52, lost)))
    model = encoders.open_folder(recipe.reward_encoder).train()
    draw = batches(len(texts), recipe.scaled(64), seed=52)

    def loss_of(_: int) -> Tensor:
        chosen = next(draw)
        both = torch.cat([better[chosen], worse[chosen]]).float() / 255
        image = model.encode_image(encoders.prepared(weathered(both)), normalize=True)
        text = model.encode_text(texts[chosen], normalize=True)
        first, second = (image.view(2, len(chosen), -1) * text).sum(-1)
        logits = model.logit_scale.exp().clamp(max=100) * torch.stack([first, second], dim=1)
        return F.cross_entropy(logits, torch.zeros(len(chosen), dtype=torch.long))

    updates = recipe.scaled(1000)
    model = fit(recipe, "preference", model, loss_of, updates=updates, lr=5e-4, every=250).eval()
    write(model.state_dict(), recipe.preference)
