"""Rewards that are the cosine of an image and its prompt in a CLIP model."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ril_bench.rewards.base import Reward
from ril_bench.rewards.clip import Clip


class CosineReward(Reward):
    """`factor` times the cosine of image and prompt; a subclass loads the CLIP model."""

    factor: float = 1.0

    def __init__(self, device: torch.device | str = "cpu"):
        super().__init__(device)
        self.clip = self.load()

    def load(self) -> Clip:
        """The model, on the reward's device."""
        raise NotImplementedError

    def score(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        return self.factor * self.clip.cosine(images, prompts)

    def reference_score(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        return self.factor * self.clip.cosine(images, prompts, reference=True)
