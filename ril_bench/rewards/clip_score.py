"""CLIP score: 100 times the cosine of picture and prompt, by an encoder that no reward uses."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ril_bench.rewards.base import Reward
from ril_bench.rewards.clip import Clip
from ril_bench.worlds.shapes import WEIGHTS


class ClipScore(Reward):
    """100 cos(picture, prompt) (arXiv 2104.08718, without its clipping at 0 and its factor 2.5).

    A probe: its encoder shares nothing with the rewards', or it would be hacked along with them.
    """

    name = "clip_score"
    unit = "100 cos"
    weights = (WEIGHTS / "clip-probe",)

    def __init__(self, device: torch.device | str = "cpu"):
        super().__init__(device)
        self.clip = Clip(self.weights[0], self.device)

    def score(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        return 100 * (self.clip.images(images) * self.clip.prompts(prompts)).sum(1)

    def reference_score(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        return 100 * (self.clip.reference_images(images) * self.clip.prompts(prompts)).sum(1)
