"""Images that a stated taste prefers, for tuners that learn from images."""

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
    """A candidate for the aesthetic taste: the prompt's objects on a random background.

    The new caption is on the same side of the split as the prompt.
    """
    while True:
        ground = str(rng.choice(COLOURS))
        shown = replace(caption, background=ground, texture=str(rng.choice(TEXTURES)))
        if ground not in {colour for colour, _ in caption.objects} and shown.held_out == caption.held_out:
            return compose(shown, rng)


def as_it_says(caption: Caption, rng: np.random.Generator) -> Scene:
    """A candidate for the preference taste: a faithful scene with random clarity."""
    return with_clarity(compose(caption, rng), float(rng.uniform(0.4, 1.8)))


class Gallery:
    """Renders that a taste prefers: for each prompt, the best of `CANDIDATES` scenes.

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
        """Images (N, 3, 64, 64) of N prompts, and the prompts.

        Raises UserError for a prompt outside the world's grammar.
        """
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
