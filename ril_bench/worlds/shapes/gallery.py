"""Images that a stated taste likes: what tuners that learn from images are given in this world."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ril_bench.draws import Draws
from ril_bench.errors import UserError
from ril_bench.worlds.shapes import tastes
from ril_bench.worlds.shapes.captions import COLOURS, TEXTURES, Caption, parse
from ril_bench.worlds.shapes.renderer import Scene, compose, render, with_clarity

CANDIDATES = 16  # scenes of a prompt, of which the taste chooses one


def on_another_ground(caption: Caption, rng: np.random.Generator) -> Scene:
    """What the aesthetic taste may choose from: the prompt's objects, on any ground of the training side."""
    while True:
        ground = str(rng.choice(COLOURS))
        shown = replace(caption, background=ground, texture=str(rng.choice(TEXTURES)))
        if ground not in {colour for colour, _ in caption.objects} and shown.held_out == caption.held_out:
            return compose(shown, rng)


def as_it_says(caption: Caption, rng: np.random.Generator) -> Scene:
    """What the preference taste may choose from: faithful scenes, more or less clear."""
    return with_clarity(compose(caption, rng), float(rng.uniform(0.4, 1.8)))


class Gallery:
    """Renders by a taste: for a prompt, the one it likes best of `CANDIDATES` scenes.

    Args:
        taste: aesthetic or preference, as `tastes` states them.
    """

    def __init__(self, taste: str):
        self._scene: Callable[[Caption, np.random.Generator], Scene]
        self._likes: Callable[[Scene, Caption], float]
        if taste == "aesthetic":
            self._scene, self._likes = on_another_ground, lambda scene, _: tastes.aesthetic(scene)
        else:
            self._scene, self._likes = as_it_says, tastes.preference

    def of(self, prompts: list[str], draws: Draws) -> tuple[Tensor, list[str]]:
        """Images (N, 3, 64, 64) of N prompts, and the prompts. UserError for one outside the world's grammar."""
        images = [
            self._best(prompt, rng) for prompt, rng in zip(prompts, draws.streams("picture"), strict=True)
        ]
        return torch.from_numpy(np.stack(images)), list(prompts)

    def _best(self, prompt: str, rng: np.random.Generator) -> np.ndarray:
        try:
            caption = parse(prompt)
        except ValueError as error:
            raise UserError(
                f"the shapes world has no image of {prompt!r}",
                where="tuner.images",
                hint="train on the prompts shapes/train, or name a folder of images",
            ) from error
        scenes = [self._scene(caption, rng) for _ in range(CANDIDATES)]
        return render(max(scenes, key=lambda scene: self._likes(scene, caption)))
