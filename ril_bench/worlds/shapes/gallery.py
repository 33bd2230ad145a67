"""The image sets of the world, for tuners that learn from images: for each reward, renders that it prefers."""

from __future__ import annotations

import importlib
import io
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ril_bench.draws import Draws, generator
from ril_bench.errors import UserError
from ril_bench.machine.packages import code_digest
from ril_bench.remote.weights import MANIFEST
from ril_bench.rewards.base import Reward
from ril_bench.storage.cache import cached
from ril_bench.storage.known_digests import file_digest
from ril_bench.worlds.shapes import WEIGHTS, tastes
from ril_bench.worlds.shapes.captions import COLOURS, TEXTURES, Caption, parse
from ril_bench.worlds.shapes.renderer import Scene, compose, render, with_clarity
from ril_bench.worlds.table import SHAPES, rewards_of

CANDIDATES = 16  # scenes of an image, of which the best is chosen
VARIANTS = 4  # images of a prompt in a set
KIND, FILE = "gallery", "image.png"  # in the cache
#: the rewards that learned a stated taste
TASTES: dict[str, Callable[[Scene, Caption], float]] = {
    "aesthetic": lambda scene, prompt: tastes.aesthetic(scene),
    "preference": tastes.preference,
}
#: the rewards that read the prompt; their images show it
READ_THE_PROMPT = ("preference", "clip_score", "attributes")


def on_another_ground(caption: Caption, rng: np.random.Generator) -> Scene:
    """A candidate for a reward that does not read the prompt: its objects on a random background.

    The new caption is on the same side of the split as the prompt.
    """
    while True:
        ground = str(rng.choice(COLOURS))
        shown = replace(caption, background=ground, texture=str(rng.choice(TEXTURES)))
        if ground not in {colour for colour, _ in caption.objects} and shown.held_out == caption.held_out:
            return compose(shown, rng)


def as_it_says(caption: Caption, rng: np.random.Generator) -> Scene:
    """A candidate for a reward that reads the prompt: a faithful scene with random clarity."""
    return with_clarity(compose(caption, rng), float(rng.uniform(0.4, 1.8)))


class Gallery:
    """The images of a set: `VARIANTS` for each prompt, each the best of `CANDIDATES` scenes.

    Scenes are judged by the taste that the reward learned; if it learned none, their renders are judged by the
    reward. An image depends on the reward, the prompt and its number alone, so all runs share it through the cache.

    Args:
        reward: the name of a reward of the world.
    """

    def __init__(self, reward: str):
        self._name = reward
        self._scene = as_it_says if reward in READ_THE_PROMPT else on_another_ground
        self._seen: dict[tuple[str, int], NDArray[np.uint8]] = {}

    def of(self, prompts: list[str], draws: Draws) -> tuple[Tensor, list[str]]:
        """Images (N, 3, 64, 64) of N prompts, and the prompts.

        Raises UserError for a prompt outside the world's grammar.
        """
        images = [
            self._image(prompt, int(stream.integers(VARIANTS)))
            for prompt, stream in zip(prompts, draws.streams("picture"), strict=True)
        ]
        return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255, list(prompts)

    def _image(self, prompt: str, number: int) -> NDArray[np.uint8]:
        """One image of a prompt, (64, 64, 3)."""
        if (prompt, number) not in self._seen:
            key = {"reward": self._name, "prompt": prompt, "number": number, **self._made_with}
            files = cached(KIND, key, lambda: {FILE: _png(self._best(prompt, number))})
            self._seen[prompt, number] = np.asarray(Image.open(io.BytesIO(files[FILE])))
        return self._seen[prompt, number]

    @cached_property
    def _made_with(self) -> dict[str, str]:
        return {"code": code_digest(), "weights": file_digest(WEIGHTS / MANIFEST)}

    def _best(self, prompt: str, number: int) -> NDArray[np.float32]:
        """The render that the taste or the reward prefers, (3, 64, 64)."""
        try:
            caption = parse(prompt)
        except ValueError as error:
            raise UserError(
                f"the shapes world has no image of {prompt!r}",
                where="tuner.images",
                hint="train on the prompts shapes/train, or name a folder of images",
            ) from error
        rng = generator(KIND, self._name, prompt, number)
        scenes = [self._scene(caption, rng) for _ in range(CANDIDATES)]
        if taste := TASTES.get(self._name):
            return render(max(scenes, key=lambda scene: taste(scene, caption)))
        renders = np.stack([render(scene) for scene in scenes])
        scores = self._reward.reference(torch.from_numpy(renders), [prompt] * CANDIDATES)
        return np.asarray(renders[int((self._reward.direction * scores).argmax())])

    @cached_property
    def _reward(self) -> Reward:
        module, _, name = rewards_of(SHAPES)[self._name].partition(":")
        reward: Reward = getattr(importlib.import_module(module), name)()
        return reward


def _png(render: NDArray[np.float32]) -> bytes:
    """A render (3, 64, 64) in [0, 1] as a file of 8 bits."""
    pixels = (render.transpose(1, 2, 0) * 255).round().astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()
