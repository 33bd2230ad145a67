"""The tastes of generated images: the attribute classifier reads a caption, and the caption has an expected taste.

A generated image has no scene. Its attributes, size and relation are those that the classifier finds. What a caption
leaves open (place, tilt, shade) is averaged over scenes of that caption.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ril_bench.worlds.shapes import tastes
from ril_bench.worlds.shapes.captions import SIZES, Caption, parse
from ril_bench.worlds.shapes.classifier import NOTHING, QUESTIONS, load_classifier
from ril_bench.worlds.shapes.renderer import Scene, compose

SCENES = 16  # scenes of a caption, over which a taste is averaged
BATCH = 256


@torch.no_grad()
def read_captions(images: Tensor) -> list[Caption]:
    """The captions that the classifier finds in 8-bit images (N, 3, 64, 64).

    The relation decides how many objects an image has. Answers that contradict it are left out: a second object has a
    shape and a colour, and only a single object has a size.
    """
    classifier = load_classifier()
    parts = [classifier(part.float() / 255) for part in images.split(BATCH)]
    logits = {question: torch.cat([part[question] for part in parts]) for question in QUESTIONS}
    return [_caption({question: of[i] for question, of in logits.items()}) for i in range(len(images))]


def _caption(logits: dict[str, Tensor]) -> Caption:
    relation = _answer(logits, "relation", QUESTIONS["relation"])
    first = _answer(logits, "colour_a"), _answer(logits, "shape_a")
    texture, background = _answer(logits, "texture"), _answer(logits, "background")
    if relation == NOTHING:
        return Caption((first,), texture, background, size=_answer(logits, "size", SIZES))
    second = _answer(logits, "colour_b"), _answer(logits, "shape_b")
    return Caption((first, second), texture, background, relation=relation)


def _answer(logits: dict[str, Tensor], question: str, allowed: Sequence[str] | None = None) -> str:
    """The most likely of the allowed answers; None allows every answer but "none"."""
    options = QUESTIONS[question]
    allowed = allowed or [option for option in options if option != NOTHING]
    return max(allowed, key=lambda option: float(logits[question][options.index(option)]))


@cache
def _scenes(caption: Caption) -> tuple[Scene, ...]:
    """Scenes of a caption, the same at every call."""
    rng = np.random.default_rng(0)
    return tuple(compose(caption, rng) for _ in range(SCENES))


def expected_aesthetic(caption: Caption) -> float:
    """The mean aesthetic taste of the scenes of a caption."""
    return float(np.mean([tastes.aesthetic(scene) for scene in _scenes(caption)]))


def expected_preference(caption: Caption, prompt: Caption) -> float:
    """The mean preference taste of the scenes of a caption, for a prompt."""
    return float(np.mean([tastes.preference(scene, prompt) for scene in _scenes(caption)]))


def tastes_of(images: Tensor, prompts: Sequence[str]) -> dict[str, NDArray[np.float64]]:
    """The tastes of 8-bit images (N, 3, 64, 64) of N prompts: {name of the reward: (N,)}.

    Empty if a prompt is outside of the world's grammar: then no taste is stated.
    """
    try:
        asked = [parse(prompt) for prompt in prompts]
    except ValueError:
        return {}
    read = read_captions(images)
    return {
        "aesthetic": np.array([expected_aesthetic(caption) for caption in read]),
        "preference": np.array(
            [expected_preference(caption, prompt) for caption, prompt in zip(read, asked, strict=True)]
        ),
    }
