"""A human-preference score in HPSv2's form: the cosine of a CLIP model fine-tuned on judged pairs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ril_bench.rewards.base import Reward
from ril_bench.rewards.clip import Clip
from ril_bench.worlds.shapes import WEIGHTS


class Preference(Reward):
    """Cosine of picture and prompt after fine-tuning on pairs (HPSv2, arXiv 2306.09341, eq. 1 and 2).

    On shapes the pairs are judged by the stated taste of `worlds/shapes/tastes.py`: faithful to the prompt
    first, then large and clear.
    """

    name = "preference"
    unit = "cosine"
    weights = (WEIGHTS / "clip-reward", WEIGHTS / "preference.safetensors")

    def __init__(self, device: torch.device | str = "cpu"):
        super().__init__(device)
        self.clip = Clip(self.weights[0], self.device, weights=self.weights[1])

    def score(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        return (self.clip.images(images) * self.clip.prompts(prompts)).sum(1)

    def reference_score(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        return (self.clip.reference_images(images) * self.clip.prompts(prompts)).sum(1)
