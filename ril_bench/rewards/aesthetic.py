"""The LAION aesthetic score: a linear MLP on a normalised CLIP image embedding."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn

from ril_bench.remote.file import RemoteFile
from ril_bench.remote.published import published
from ril_bench.rewards.base import Reward
from ril_bench.rewards.checkpoints import State, filled, read_state
from ril_bench.rewards.clip import Clip, HfClip, Tower, clip_config

CLIP, HEAD = published("clip-vit-l-14"), published("aesthetic-head")


class AestheticHead(nn.Module):
    """LAION's head: D-1024-128-64-16-1 without nonlinearities, keys `layers.{0,2,4,6,7}` [code]."""

    def __init__(self, dimension: int):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(dimension, 1024),
            nn.Dropout(0.2),
            nn.Linear(1024, 128),
            nn.Dropout(0.2),
            nn.Linear(128, 64),
            nn.Dropout(0.1),
            nn.Linear(64, 16),
            nn.Linear(16, 1),
        )

    def forward(self, embedding: Tensor) -> Tensor:
        """(N, D) -> (N, 1)."""
        return self.layers(embedding)

    @classmethod
    def of(cls, state: State, where: object, device: torch.device | str = "cpu") -> AestheticHead:
        """The head with these weights, frozen. Raises UserError where they do not fit a head."""
        first = state.get("layers.0.weight")
        return filled(cls(768 if first is None else first.shape[1]), state, where, device)


class Aesthetic(Reward):
    """How much people would like an image, about 1 to 10; it does not read the prompt.

    LAION's predictor on OpenAI's CLIP ViT-L/14 [code: christophschuhmann/improved-aesthetic-predictor].
    """

    name = "aesthetic"
    unit = "rating 1-10"
    weights: ClassVar[tuple[Path | RemoteFile, ...]] = (CLIP, HEAD)
    config = clip_config(
        Tower(24, 1024, 16), Tower(12, 768, 12), patch=14, dimension=768, act="quick_gelu"
    )  # openai/clip-vit-large-patch14

    def __init__(self, device: torch.device | str = "cpu"):
        super().__init__(device)
        self.clip, self.head = self.load()

    def load(self) -> tuple[Clip, AestheticHead]:
        """The encoder and the head on it, on the reward's device."""
        clip, head = (file.fetch() for file in (CLIP, HEAD))
        return (
            HfClip(self.config, read_state(clip), where=clip, device=self.device),
            AestheticHead.of(read_state(head), head, self.device),
        )

    def score(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        return self.head(self.clip.images(images)).squeeze(1)

    def reference_score(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        return self.head(self.clip.reference_images(images)).squeeze(1)
