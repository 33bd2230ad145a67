"""The LAION aesthetic score: a linear MLP on a normalised CLIP image embedding."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from ril_bench.rewards.base import Reward
from ril_bench.rewards.clip import Clip
from ril_bench.weights import verified
from ril_bench.worlds.shapes import WEIGHTS


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


class Aesthetic(Reward):
    """How much the world's aesthetic taste likes a picture, about 1 to 10; it does not read the prompt.

    On shapes the taste is stated in `worlds/shapes/tastes.py`; the architecture is that of
    `sac+logos+ava1-l14-linearMSE.pth` [code: improved-aesthetic-predictor].
    """

    name = "aesthetic"
    unit = "rating 1-10"
    weights = (WEIGHTS / "clip-reward", WEIGHTS / "aesthetic.safetensors")

    def __init__(self, device: torch.device | str = "cpu"):
        super().__init__(device)
        self.clip = Clip(self.weights[0], self.device)
        state = load_file(verified(self.weights[1]))
        self.head = AestheticHead(state["layers.0.weight"].shape[1])
        self.head.load_state_dict({key: value.float() for key, value in state.items()})
        self.head.to(self.device).eval().requires_grad_(False)

    def score(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        return self.head(self.clip.images(images)).squeeze(1)

    def reference_score(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        return self.head(self.clip.reference_images(images)).squeeze(1)
