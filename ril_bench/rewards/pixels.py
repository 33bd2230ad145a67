"""Rewards computed from pixels; symmetry and brightness as in DRTune (arXiv 2405.00760) [secondary]."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ril_bench.rewards.base import Reward


class Symmetry(Reward):
    """Minus the mean absolute difference between an image and its mirror image (left to right)."""

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


class Colorfulness(Reward):
    """M of Hasler & Süsstrunk 2003: how far an image's colours spread, and how far they are from grey.

    With rg = R - G and yb = (R + G) / 2 - B over the pixels, M = |(sd rg, sd yb)| + 0.3 |(mean rg, mean yb)|; about
    0 for grey images, above 100 for extremely colourful ones.
    """

    name = "colorfulness"
    unit = "grey levels"

    def score(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        red, green, blue = (255 * images.flatten(2)).unbind(1)
        opponents = torch.stack([red - green, (red + green) / 2 - blue])  # (2, N, pixels)
        spread = opponents.var(dim=2, correction=0).sum(dim=0)
        offset = opponents.mean(dim=2).square().sum(dim=0)
        return _root(spread) + 0.3 * _root(offset)


def _root(x: Tensor) -> Tensor:
    """The square root with a finite gradient at 0, where the image is grey."""
    return x.clamp_min(torch.finfo(x.dtype).eps).sqrt()
