"""Stage `quality`: measures the world's weights on held-out data, and writes their digests.

quality.json holds the values that the documentation quotes; digests.json holds the digest of every file.
"""

from __future__ import annotations

import json
import os
from typing import TypeVar

import torch
import torch.nn.functional as F
from scipy.stats import spearmanr

from ril_bench.diffusion.model import AdapterSpec, DiffusionModel
from ril_bench.diffusion.sampler import DDIM, sample
from ril_bench.draws import Draws
from ril_bench.metrics.frechet import frechet_distance
from ril_bench.remote.weights import MANIFEST
from ril_bench.rewards.base import Reward
from ril_bench.storage.digests import sha256_file
from ril_bench.worlds.shapes import WEIGHTS, captions, tastes
from ril_bench.worlds.shapes.captions import parse
from ril_bench.worlds.shapes.classifier import load_classifier
from ril_bench.worlds.shapes.rewards import ShapesAesthetic, ShapesPreference
from ril_bench.worlds.shapes.train import encoders
from ril_bench.worlds.shapes.train.classifier import accuracy
from ril_bench.worlds.shapes.train.common import Recipe, rendered, scenes
from ril_bench.worlds.shapes.train.tastes import duels

STEPS, GUIDANCE, ETA = 16, 3.0, 1.0  # of the shipped sequences
LOGS = (MANIFEST, "quality.json", "training.jsonl")  # no weights: their digests are not written

R = TypeVar("R", bound=Reward)


def measure(recipe: Recipe) -> None:
    """Measures the weights as a run loads them; writes quality.json and digests.json.

    The weights are in half precision.
    """
    (recipe.folder / MANIFEST).unlink(missing_ok=True)
    measured = {
        **of_classifier(recipe),
        **of_rewards(recipe),
        **of_encoders(recipe),
        **of_generator(recipe),
    }
    text = json.dumps({name: round(value, 4) for name, value in measured.items()}, indent=2)
    (recipe.folder / "quality.json").write_text(text + "\n")
    print(text)
    write_digests(recipe)


def write_digests(recipe: Recipe) -> None:
    """Writes the SHA-256 of every file but the logs."""
    digests = {}
    for file in sorted(recipe.folder.rglob("*")):
        if file.is_file() and file.name not in LOGS:
            os.chmod(file, 0o644)
            digests[file.relative_to(recipe.folder).as_posix()] = sha256_file(file)
    (recipe.folder / MANIFEST).write_text(json.dumps(digests, indent=2) + "\n")


def of_classifier(recipe: Recipe) -> dict[str, float]:
    """The classifier's accuracy on 4,096 renders of held-out combinations."""
    model = load_classifier(file=recipe.classifier)
    right = accuracy(model, scenes(recipe.scaled(4096), seed=13, held_out=True)).float()
    return {
        "classifier: attributes right on renders": right.mean().item(),
        "classifier: renders right in every attribute": right.prod(1).mean().item(),
    }


def of_rewards(recipe: Recipe) -> dict[str, float]:
    """Aesthetic's rank correlation with its taste, and preference's accuracy on pairs.

    Both are measured on held-out renders.
    """
    some = scenes(recipe.scaled(2048), seed=43, held_out=True)
    reward = trained(ShapesAesthetic, recipe)
    scores = reward.reference(rendered(some), [str(scene.caption) for scene in some])
    rank = spearmanr(scores.numpy(), [tastes.aesthetic(scene) for scene in some]).statistic
    prompts, won, lost = duels(recipe.scaled(2048), seed=53, held_out=True)
    texts, preference = [str(prompt) for prompt in prompts], trained(ShapesPreference, recipe)
    better, worse = (preference.reference(rendered(some), texts) for some in (won, lost))
    return {
        "aesthetic: Spearman with its taste": float(rank),
        "preference: pair accuracy": (better > worse).float().mean().item(),
    }


def trained(reward: type[R], recipe: Recipe) -> R:
    """A reward of the world with the weights of the recipe's folder."""
    places = tuple(recipe.folder / place.relative_to(WEIGHTS) for place in reward.weights)  # type: ignore[union-attr]
    return type(reward.__name__, (reward,), {"weights": places})()


def of_encoders(recipe: Recipe) -> dict[str, float]:
    """Caption retrieval among 64 held-out renders, by each encoder."""
    rounds = recipe.scaled(16, 1)
    return {
        f"{folder.name}: caption retrieval among 64": encoders.retrieval(
            encoders.open_folder(folder).eval(), folder, rounds
        )
        for folder in (recipe.reward_encoder, recipe.probe_encoder)
    }


@torch.no_grad()
def of_generator(recipe: Recipe) -> dict[str, float]:
    """Accuracy of two images for each evaluation prompt; reconstructions; FID to renders."""
    model = DiffusionModel.load(recipe.pipeline, adapter=AdapterSpec(1, 1.0, ("to_q",)))
    ddim, classifier = DDIM.of(model, STEPS, ETA), load_classifier(file=recipe.classifier)
    eval_prompts = captions.prompts("eval")
    # at least three: every third prompt has two objects
    prompts = [prompt for prompt in eval_prompts[: recipe.scaled(len(eval_prompts), 3)] for _ in range(2)]
    decoded = []
    for start in range(0, len(prompts), 32):
        part = slice(start, start + 32)
        draws = Draws(("quality",), range(len(prompts)))[part]
        decoded.append(model.decode(sample(model, ddim, prompts[part], draws, guidance=GUIDANCE)))
    generated = torch.cat(decoded)
    expected = [parse(prompt) for prompt in prompts]
    right = classifier.correct(generated, expected).float()
    single = torch.tensor([caption.relation is None for caption in expected])
    renders, more_renders = (
        rendered(scenes(len(prompts), seed=seed, held_out=True, two=1 / 3)) for seed in (71, 72)
    )
    latents = model.pipe.vae.encode(renders * 2 - 1).latent_dist.mean * model.pipe.vae.config.scaling_factor
    of_generated, of_renders, of_more_renders = (
        classifier.features(x).numpy() for x in (generated, renders, more_renders)
    )
    return {
        "autoencoder: L1 of reconstructed renders": F.l1_loss(model.decode(latents), renders).item(),
        "generator: single-object prompts right in every attribute": right[single].prod(1).mean().item(),
        "generator: two-object prompts right in every attribute": right[~single].prod(1).mean().item(),
        "generator: attributes right": right.mean().item(),
        "generator: FID to renders": frechet_distance(of_generated, of_renders),
        "generator: FID floor, renders to renders": frechet_distance(of_more_renders, of_renders),
        "generator: denoiser weights, millions": sum(p.numel() for p in model.unet.parameters()) / 1e6,
    }
