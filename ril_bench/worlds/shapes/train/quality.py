"""Stage `quality`: how good the world's weights are, measured on the held-out side of the split; then digests.

Writes `weights/quality.json` (the figures that the documentation quotes) and `weights/digests.json`.
"""

from __future__ import annotations

import json
import os

import torch
import torch.nn.functional as F
from scipy.stats import spearmanr

from ril_bench.diffusion.model import AdapterSpec, DiffusionModel
from ril_bench.diffusion.sampler import DDIM, sample
from ril_bench.draws import Draws
from ril_bench.metrics.frechet import frechet_distance
from ril_bench.remote.weights import MANIFEST
from ril_bench.storage.digests import sha256_file
from ril_bench.worlds.shapes import WEIGHTS, captions, tastes
from ril_bench.worlds.shapes.captions import parse
from ril_bench.worlds.shapes.classifier import load_classifier
from ril_bench.worlds.shapes.rewards import ShapesAesthetic, ShapesPreference
from ril_bench.worlds.shapes.train import encoders
from ril_bench.worlds.shapes.train.common import images, scenes
from ril_bench.worlds.shapes.train.tastes import duels

STEPS, GUIDANCE, ETA = 16, 3.0, 1.0  # as the shipped sequences sample


def measure() -> None:
    """Every figure from the shipped (half precision) weights, as a run loads them."""
    (WEIGHTS / MANIFEST).unlink(missing_ok=True)
    figures = {**of_classifier(), **of_rewards(), **of_encoders(), **of_generator()}
    figures = {name: round(value, 4) for name, value in figures.items()}
    (WEIGHTS / "quality.json").write_text(json.dumps(figures, indent=2) + "\n")
    print(json.dumps(figures, indent=2))
    write_digests()


def write_digests() -> None:
    digests = {}
    for file in sorted(WEIGHTS.rglob("*")):
        if file.is_file() and file.name not in (MANIFEST, "quality.json", "training.jsonl"):
            os.chmod(file, 0o644)
            digests[file.relative_to(WEIGHTS).as_posix()] = sha256_file(file)
    (WEIGHTS / MANIFEST).write_text(json.dumps(digests, indent=2) + "\n")


@torch.no_grad()
def of_classifier() -> dict[str, float]:
    """On 4,096 renders of held-out combinations."""
    model, some = load_classifier(), scenes(4096, seed=13, held_out=True)
    right = torch.cat(
        [
            model.correct(images(some[i : i + 256]), [s.caption for s in some[i : i + 256]])
            for i in range(0, len(some), 256)
        ]
    ).float()
    return {
        "classifier: attributes right on renders": right.mean().item(),
        "classifier: renders right in every attribute": right.prod(1).mean().item(),
    }


def of_rewards() -> dict[str, float]:
    """aesthetic's rank correlation with its taste, preference's accuracy on pairs; held-out renders."""
    some = scenes(2048, seed=43, held_out=True)
    scores = ShapesAesthetic().reference(images(some), [str(scene.caption) for scene in some])
    rank = spearmanr(scores.numpy(), [tastes.aesthetic(scene) for scene in some]).statistic
    prompts, won, lost = duels(2048, seed=53, held_out=True)
    texts, reward = [str(prompt) for prompt in prompts], ShapesPreference()
    better, worse = (reward.reference(images(some), texts) for some in (won, lost))
    return {
        "aesthetic: Spearman with its taste": float(rank),
        "preference: pair accuracy": (better > worse).float().mean().item(),
    }


def of_encoders() -> dict[str, float]:
    """Caption retrieval among 64, held-out renders."""
    return {
        f"{folder.name}: caption retrieval among 64": encoders.retrieval(
            encoders.open_folder(folder).eval(), folder
        )
        for folder in (encoders.REWARD, encoders.PROBE)
    }


@torch.no_grad()
def of_generator() -> dict[str, float]:
    """Generated images of the evaluation prompts, two of each, as the classifier reads them; reconstruction; FID."""
    model = DiffusionModel.load(str(WEIGHTS / "pipeline"), adapter=AdapterSpec(1, 1.0, ("to_q",)))
    ddim, classifier = DDIM.of(model, STEPS, ETA), load_classifier()
    prompts = [prompt for prompt in captions.prompts("eval") for _ in range(2)]
    made = []
    for start in range(0, len(prompts), 32):
        part = slice(start, start + 32)
        draws = Draws(("quality",), range(len(prompts)))[part]
        made.append(model.decode(sample(model, ddim, prompts[part], draws, guidance=GUIDANCE)))
    generated = torch.cat(made)
    asked = [parse(prompt) for prompt in prompts]
    right = classifier.correct(generated, asked).float()
    single = torch.tensor([caption.relation is None for caption in asked])
    renders = images(scenes(len(prompts), seed=71, held_out=True, two=1 / 3))
    latents = model.pipe.vae.encode(renders * 2 - 1).latent_dist.mean * model.pipe.vae.config.scaling_factor
    features = [
        classifier.features(x).numpy()
        for x in (generated, renders, images(scenes(len(prompts), seed=72, held_out=True, two=1 / 3)))
    ]
    return {
        "autoencoder: L1 of reconstructed renders": F.l1_loss(model.decode(latents), renders).item(),
        "generator: single-object prompts right in every attribute": right[single].prod(1).mean().item(),
        "generator: two-object prompts right in every attribute": right[~single].prod(1).mean().item(),
        "generator: attributes right": right.mean().item(),
        "generator: FID to renders": frechet_distance(features[0], features[1]),
        "generator: FID floor, renders to renders": frechet_distance(features[2], features[1]),
        "generator: denoiser weights, millions": sum(p.numel() for p in model.unet.parameters()) / 1e6,
    }
