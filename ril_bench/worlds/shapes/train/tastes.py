"""Stages `aesthetic` and `preference`: rewards that learn the stated tastes from images alone."""

from __future__ import annotations

import random

import numpy as np
import torch
import torch.nn.functional as F
from open_clip import get_tokenizer
from scipy.stats import spearmanr
from torch import Tensor

from ril_bench.rewards.aesthetic import AestheticHead
from ril_bench.worlds.shapes import WEIGHTS, captions, tastes
from ril_bench.worlds.shapes.captions import Caption
from ril_bench.worlds.shapes.renderer import Scene, compose, with_clarity
from ril_bench.worlds.shapes.rewards import ShapesPreference
from ril_bench.worlds.shapes.train import encoders
from ril_bench.worlds.shapes.train.classifier import weathered
from ril_bench.worlds.shapes.train.common import batches, fit, images, log, scenes, write

AESTHETIC = WEIGHTS / "aesthetic.safetensors"
TIE = 0.08  # a smaller difference is a tie to the judge, and no verdict
PREFERENCE = WEIGHTS / "preference.safetensors"


@torch.no_grad()
def embeddings(images: Tensor) -> Tensor:
    """Normalised image embeddings of the rewards' encoder, (N, 64)."""
    model = encoders.open_folder(encoders.REWARD).eval()
    return torch.cat(
        [model.encode_image(encoders.prepared(part), normalize=True) for part in images.split(256)]
    )


def train_aesthetic(updates: int = 3000, batch: int = 256) -> None:
    """LAION's architecture on the frozen, normalised image embedding; mean squared error to the rating."""
    torch.manual_seed(40)
    some = scenes(20_000, seed=41)
    inputs = embeddings(weathered(images(some)))
    ratings = torch.tensor([tastes.aesthetic(scene) for scene in some])
    head = AestheticHead(encoders.EMBEDDING)
    draw = batches(len(inputs), batch, seed=42)

    def loss_of(_: int) -> Tensor:
        chosen = next(draw)
        return F.mse_loss(head(inputs[chosen]).squeeze(1), ratings[chosen])

    head = fit("aesthetic", head, loss_of, updates=updates, lr=2e-3, every=1000).eval()
    held_out = scenes(2048, seed=43, held_out=True)
    with torch.no_grad():
        scores = head(embeddings(images(held_out))).squeeze(1)
    rank = spearmanr(scores.numpy(), [tastes.aesthetic(scene) for scene in held_out]).statistic
    log("aesthetic", spearman_with_taste=float(rank))
    write(head.state_dict(), AESTHETIC)


def rivals(prompt: Caption, words: random.Random, places: np.random.Generator) -> tuple[Scene, Scene]:
    """Two images offered for one prompt: changed in an attribute or two, or faithful but unequally clear."""
    pair = []
    for _ in range(2):
        shown = prompt if words.random() < 0.5 else changed(prompt, words)
        scene = compose(shown, places)
        pair.append(with_clarity(scene, words.uniform(0.4, 1.8)) if words.random() < 0.7 else scene)
    return pair[0], pair[1]


def changed(prompt: Caption, words: random.Random) -> Caption:
    """A caption near the prompt: one other caption of the same kind, sharing about half of its words."""
    other = captions.draw(words, held_out=prompt.held_out, two=prompt.relation is not None)
    objects = tuple(
        (words.choice([a[0], b[0]]), words.choice([a[1], b[1]]))
        for a, b in zip(prompt.objects, other.objects, strict=True)
    )
    background = words.choice([prompt.background, other.background])
    mixed = Caption(
        objects,
        words.choice([prompt.texture, other.texture]),
        background,
        prompt.size and words.choice([prompt.size, str(other.size)]),
        prompt.relation and words.choice([prompt.relation, str(other.relation)]),
    )
    sane = all(colour != background for colour, _ in objects) and mixed.held_out == prompt.held_out
    return mixed if sane and mixed != prompt else changed(prompt, words)


def duels(count: int, seed: int, *, held_out: bool = False) -> tuple[list[Caption], list[Scene], list[Scene]]:
    """Prompts with the image the taste prefers and the one it does not, for `count` clear verdicts."""
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


def train_preference(updates: int = 1500, batch: int = 64) -> None:
    """HPSv2's recipe (arXiv 2306.09341): the CLIP model fine-tuned so that the preferred image of a pair has
    the larger share of the prompt's softmax."""
    torch.manual_seed(50)
    prompts, won, lost = duels(16_000, seed=51)
    tokens = get_tokenizer(f"local-dir:{encoders.REWARD}")
    texts = tokens([str(prompt) for prompt in prompts])
    better, worse = ((images(some) * 255).round().byte() for some in (won, lost))
    model = encoders.open_folder(encoders.REWARD).train()
    draw = batches(len(texts), batch, seed=52)

    def loss_of(_: int) -> Tensor:
        chosen = next(draw)
        both = torch.cat([better[chosen], worse[chosen]]).float() / 255
        image = model.encode_image(encoders.prepared(weathered(both)), normalize=True)
        text = model.encode_text(texts[chosen], normalize=True)
        first, second = (image.view(2, len(chosen), -1) * text).sum(-1)
        logits = model.logit_scale.exp().clamp(max=100) * torch.stack([first, second], dim=1)
        return F.cross_entropy(logits, torch.zeros(len(chosen), dtype=torch.long))

    model = fit("preference", model, loss_of, updates=updates, lr=5e-4, every=250).eval()
    # A fresh model: the averaged one's attention mask, a buffer of -inf, is NaN by now.
    write(model.state_dict(), PREFERENCE)
    prompts, won, lost = duels(2048, seed=53, held_out=True)
    reward, texts_held_out = ShapesPreference(), [str(prompt) for prompt in prompts]
    first, second = (reward.reference(images(some), texts_held_out) for some in (won, lost))
    log("preference", pair_accuracy=(first > second).float().mean().item(), mean_cosine=first.mean().item())
