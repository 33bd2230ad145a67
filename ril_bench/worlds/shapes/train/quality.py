"""Stage `quality`: measures the world's weights on held-out data, and writes their digests.

quality.json holds the values that the documentation quotes; digests.json holds the digest of every file.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch
import torch.nn.functional as F
from scipy.stats import spearmanr
from torch import Tensor

from ril_bench.diffusion.model import AdapterSpec, DiffusionModel
from ril_bench.diffusion.sampler import sample
from ril_bench.draws import Draws
from ril_bench.metrics.frechet import frechet_distance
from ril_bench.remote.weights import MANIFEST
from ril_bench.rewards.base import Reward
from ril_bench.storage.digests import sha256_file
from ril_bench.worlds.shapes import WEIGHTS, captions, tastes
from ril_bench.worlds.shapes.captions import parse
from ril_bench.worlds.shapes.classifier import Classifier, load_classifier
from ril_bench.worlds.shapes.renderer import Scene
from ril_bench.worlds.shapes.rewards import ShapesAesthetic, ShapesPreference
from ril_bench.worlds.shapes.train import encoders
from ril_bench.worlds.shapes.train.classifier import accuracy, read
from ril_bench.worlds.shapes.train.common import Recipe
from ril_bench.worlds.shapes.train.data import rendered, scenes, varied
from ril_bench.worlds.shapes.train.denoiser import WEB_CLARITY
from ril_bench.worlds.shapes.train.repaint import ETA, FLOW_ETA, STEPS, repainted
from ril_bench.worlds.shapes.train.tastes import duels

GUIDANCES = (1.0, 3.0)
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
        **of_generator(recipe, recipe.pipeline, "generator", ETA),
        **of_autoencoder(recipe),
    }
    if recipe.flow_pipeline.is_dir():
        measured |= of_generator(recipe, recipe.flow_pipeline, "flow generator", FLOW_ETA)
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
    """The classifier's accuracy on renders of held-out combinations, and on some of them repainted."""
    model = load_classifier(file=recipe.classifier)
    plain = scenes(recipe.scaled(4096), seed=13, held_out=True)
    some = varied(plain[: recipe.scaled(1024)], seed=13)
    right = accuracy(model, plain).float()
    return {
        "classifier: attributes right on plain renders": right.mean().item(),
        "classifier: plain renders right in every attribute": right.prod(1).mean().item(),
        "classifier: attributes right on faint and cluttered renders": accuracy(model, some)
        .float()
        .mean()
        .item(),
        "classifier: attributes right on repainted renders": read(model, repainted(recipe, some, 13), some)
        .float()
        .mean()
        .item(),
    }


def of_rewards(recipe: Recipe) -> dict[str, float]:
    """Aesthetic's rank correlation with its taste, and preference's accuracy on pairs.

    Both are measured on held-out scenes: on their renders, and on repainted renders.
    """
    some = varied(scenes(recipe.scaled(1024), seed=43, held_out=True), seed=43)
    prompts, won, lost = duels(recipe.scaled(1024), seed=53, held_out=True)
    texts = [str(prompt) for prompt in prompts]
    aesthetic, preference = trained(ShapesAesthetic, recipe), trained(ShapesPreference, recipe)
    judged = [tastes.aesthetic(scene) for scene in some]

    def measured(shown: Callable[[list[Scene]], Tensor]) -> tuple[float, float]:
        scores = aesthetic.reference(shown(some), [str(scene.caption) for scene in some])
        better, worse = (preference.reference(shown(one), texts) for one in (won, lost))
        return float(spearmanr(scores.numpy(), judged).statistic), (better > worse).float().mean().item()

    of_renders = measured(rendered)
    of_repainted = measured(lambda shown: repainted(recipe, shown, 43).float() / 255)
    return {
        "aesthetic: Spearman with its taste, renders": of_renders[0],
        "aesthetic: Spearman with its taste, repainted renders": of_repainted[0],
        "preference: pair accuracy, renders": of_renders[1],
        "preference: pair accuracy, repainted renders": of_repainted[1],
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
def of_generator(recipe: Recipe, pipeline: Path, name: str, eta: float) -> dict[str, float]:
    """Accuracy of two images for each evaluation prompt, by guidance; FID to renders; the denoiser's size.

    `eta` is that of the sequences on this model.
    """
    model = DiffusionModel.load(pipeline, adapter=AdapterSpec(1, 1.0, ("to_q",)))
    classifier, eval_prompts = load_classifier(file=recipe.classifier), captions.prompts("eval")
    # at least three: every third prompt has two objects
    prompts = [prompt for prompt in eval_prompts[: recipe.scaled(len(eval_prompts), 3)] for _ in range(2)]
    renders, _, web = measured_renders(len(prompts))
    measured: dict[str, float] = {}
    for guidance in GUIDANCES:
        images = generated(model, prompts, guidance, eta)
        right = classifier.correct(images, [parse(prompt) for prompt in prompts]).float()
        single = torch.tensor([parse(prompt).relation is None for prompt in prompts])
        of = f"{name}, guidance {guidance:g}"
        measured |= {
            f"{of}: attributes right": right.mean().item(),
            f"{of}: single-object prompts right in every attribute": right[single].prod(1).mean().item(),
            f"{of}: two-object prompts right in every attribute": right[~single].prod(1).mean().item(),
            f"{of}: FID to plain renders": distance(classifier, images, renders),
            f"{of}: FID to web-like renders": distance(classifier, images, web),
        }
    weights = sum(p.numel() for p in model.denoiser.parameters()) / 1e6
    return {**measured, f"{name}: denoiser weights, millions": weights}


@torch.no_grad()
def of_autoencoder(recipe: Recipe) -> dict[str, float]:
    """FID between sets of renders, and the error of reconstructed renders."""
    model = DiffusionModel.load(recipe.pipeline, adapter=AdapterSpec(1, 1.0, ("to_q",)))
    classifier = load_classifier(file=recipe.classifier)
    renders, more_renders, web = measured_renders(2 * recipe.scaled(len(captions.prompts("eval")), 3))
    return {
        "FID of plain renders to plain renders": distance(classifier, more_renders, renders),
        "FID of web-like renders to plain renders": distance(classifier, web, renders),
        "autoencoder: L1 of reconstructed renders": reconstruction_error(model, renders),
        "autoencoder: L1 of reconstructed web-like renders": reconstruction_error(model, web),
    }


def measured_renders(count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Two sets of plain renders of held-out scenes, and a set of web-like ones."""
    plain, more, web = (scenes(count, seed=seed, held_out=True, two=1 / 3) for seed in (71, 72, 73))
    return rendered(plain), rendered(more), rendered(varied(web, 73, WEB_CLARITY))


def generated(model: DiffusionModel, prompts: list[str], guidance: float, eta: float) -> Tensor:
    """Images (N, 3, 64, 64) of N prompts."""
    sampler, draws = model.sampler(STEPS, eta), Draws(("quality",), range(len(prompts)))
    parts = [slice(start, start + 32) for start in range(0, len(prompts), 32)]
    return torch.cat(
        [
            model.decode(sample(model, sampler, prompts[part], draws[part], guidance=guidance))
            for part in parts
        ]
    )


def distance(classifier: Classifier, images: Tensor, others: Tensor) -> float:
    """FID on the classifier's features."""
    return frechet_distance(*(classifier.features(some).numpy() for some in (images, others)))


def reconstruction_error(model: DiffusionModel, images: Tensor) -> float:
    """The mean absolute error of the autoencoder on images in [0, 1]."""
    vae = model.pipe.vae
    latents = vae.encode(images * 2 - 1).latent_dist.mean * vae.config.scaling_factor
    return F.l1_loss(model.decode(latents), images).item()
