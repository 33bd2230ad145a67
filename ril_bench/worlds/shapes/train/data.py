"""Scenes and renders that the stages train on and are measured on."""

from __future__ import annotations

import random

import numpy as np
import torch
from torch import Tensor

from ril_bench.worlds.shapes import captions
from ril_bench.worlds.shapes.captions import Caption
from ril_bench.worlds.shapes.renderer import Scene, compose, render_all, with_clarity, with_clutter

ANY_CLARITY = (0.25, 1.8)  # of what a generator may show, from hardly visible to full contrast
MOST_MARKS = 4


def scenes(count: int, seed: int, *, held_out: bool = False, two: float = 0.4) -> list[Scene]:
    """`count` plain scenes of one side of the split; a share `two` of them has two objects."""
    words, places = random.Random(seed), np.random.default_rng(seed)
    return [
        compose(captions.draw(words, held_out=held_out, two=words.random() < two), places)
        for _ in range(count)
    ]


def varied(some: list[Scene], seed: int, clarity: tuple[float, float] = ANY_CLARITY) -> list[Scene]:
    """The scenes with a random clarity, and with 0 to `MOST_MARKS` marks of clutter."""
    rng = np.random.default_rng((seed, 1))
    return [
        with_clutter(with_clarity(scene, rng.uniform(*clarity)), int(rng.integers(MOST_MARKS + 1)), rng)
        for scene in some
    ]


def changed(prompt: Caption, words: random.Random) -> Caption:
    """A caption near the prompt: a random mixture of it and another caption of its kind."""
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


def rendered(some: list[Scene]) -> Tensor:
    """The renders of scenes, (N, 3, 64, 64) in [0, 1]."""
    return torch.from_numpy(render_all(some))


def rendered8(some: list[Scene]) -> Tensor:
    """8-bit renders (N, 3, 64, 64) of scenes: a pool of training images."""
    parts = (rendered(some[i : i + 500]) for i in range(0, len(some), 500))
    return torch.cat([(part * 255).round().byte() for part in parts])
