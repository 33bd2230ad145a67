"""Low-level rewards, read off the pixels, as in DRTune (arXiv 2405.00760) [secondary]."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ril_bench.rewards.base import Reward


class Symmetry(Reward):
    """Minus the mean absolute difference between a picture and its mirror image (left to right)."""

    name = "symmetry"
    unit = "grey levels"

    def score(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        return -255 * (images - images.flip(-1)).abs().mean(dim=(1, 2, 3))


class Brightness(Reward):
    """The mean of all pixels, 0 (black) to 255 (white)."""

    name = "brightness"
    unit = "grey levels"

    def score(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        return 255 * images.mean(dim=(1, 2, 3))
