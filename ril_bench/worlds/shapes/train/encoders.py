"""Stages `clip-reward` and `clip-probe`: two open_clip models of images and captions.

Both have the same small configuration.

The rewards aesthetic and preference use `clip-reward`; the probe clip_score uses `clip-probe`. The two have different
initial weights and different training images.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
import torch.nn.functional as F
from open_clip import CLIP, create_model, get_tokenizer
from safetensors.torch import load_file
from torch import Tensor

from ril_bench.worlds.shapes.train import tokenizer
from ril_bench.worlds.shapes.train.classifier import weathered
from ril_bench.worlds.shapes.train.common import Recipe, batches, fit, write
from ril_bench.worlds.shapes.train.data import rendered, scenes, varied
from ril_bench.worlds.shapes.train.repaint import pool

EMBEDDING = 64
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


def configure(folder: Path) -> None:
    """Writes tokenizer and config in open_clip's folder format, which `local-dir:` reads."""
    vocabulary = len(tokenizer.write(folder))
    config = {
        "model_cfg": {
            "embed_dim": EMBEDDING,
            "vision_cfg": {
                "image_size": 64,
                "layers": [1, 1, 1, 1],
                "width": 16,
                "head_width": 64,
                "patch_size": None,
            },
            "text_cfg": {
                "context_length": tokenizer.CONTEXT,
                "vocab_size": vocabulary,
                "hf_tokenizer_name": "clip",
                "width": 64,
                "heads": 4,
                "layers": 2,
            },
        },
        "preprocess_cfg": {"mean": MEAN, "std": STD, "interpolation": "bicubic"},
    }
    (folder / "open_clip_config.json").write_text(json.dumps(config, indent=2) + "\n")


def open_folder(folder: Path) -> CLIP:
    """The model of a folder in fp32, with random weights if the folder has no weights yet."""
    model = create_model(f"local-dir:{folder}", load_weights=False)
    weights = folder / "open_clip_model.safetensors"
    if weights.exists():
        model.load_state_dict(
            {k: v.float() if v.is_floating_point() else v for k, v in load_file(weights).items()}
        )
    return model


def prepared(images: Tensor) -> Tensor:
    """CLIP's normalisation of images in [0, 1]."""
    return (images - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)


def contrastive(images: Tensor, texts: Tensor, scale: Tensor) -> Tensor:
    """CLIP's symmetric cross-entropy on normalised embeddings (arXiv 2103.00020)."""
    logits = scale * images @ texts.T
    target = torch.arange(len(logits))
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def retrieval(model: CLIP, folder: Path, rounds: int, among: int = 64) -> float:
    """The share of held-out images whose caption is the nearest of `among` captions."""
    tokens, right = get_tokenizer(f"local-dir:{folder}"), []
    for seed in range(rounds):
        unique = {str(scene.caption): scene for scene in scenes(2 * among, seed=900 + seed, held_out=True)}
        some = list(unique.values())[:among]
        with torch.no_grad():
            image = model.encode_image(prepared(rendered(some)), normalize=True)
            text = model.encode_text(tokens([str(scene.caption) for scene in some]), normalize=True)
        right.append(((image @ text.T).argmax(1) == torch.arange(len(some))).float().mean().item())
    return sum(right) / len(right)


def train(recipe: Recipe, folder: Path, seed: int) -> None:
    """Trains the encoder of one folder."""
    count = recipe.scaled(24_000)
    torch.manual_seed(seed)
    configure(folder)
    model = open_folder(folder).train()
    some = varied(scenes(count, seed), seed)
    texts = get_tokenizer(f"local-dir:{folder}")([str(scene.caption) for scene in some])
    images, draw = pool(recipe, some, seed), batches(count, recipe.scaled(128), seed=seed + 1)

    def loss_of(_: int) -> Tensor:
        chosen = next(draw)
        image = model.encode_image(prepared(weathered(images[chosen].float() / 255)), normalize=True)
        text = model.encode_text(texts[chosen], normalize=True)
        return contrastive(image, text, model.logit_scale.exp().clamp(max=100))

    updates = recipe.scaled(1500)
    model = fit(
        recipe, folder.name, model, loss_of, updates=updates, lr=1.5e-3, weight_decay=0.05, every=250
    ).eval()
    write(model.state_dict(), folder / "open_clip_model.safetensors")
    recipe.log(
        folder.name,
        retrieval_among_64=retrieval(open_folder(folder).eval(), folder, rounds=recipe.scaled(16, 1)),
    )
