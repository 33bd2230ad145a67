"""The Reward base class, and the one door through which images enter."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from ril_bench.remote.file import RemoteFile


class Reward:
    """Scores images for their prompts.

    Attributes:
        unit: of the score.
        direction: +1 if more is better, -1 if less is.
        differentiable: whether the score keeps the graph of the images.
        weights: the files or folders that the score depends on; their digests go into a run's provenance.
    """

    name: ClassVar[str]
    unit: ClassVar[str]
    direction: ClassVar[int] = +1
    differentiable: ClassVar[bool] = True
    weights: ClassVar[tuple[Path | RemoteFile, ...]] = ()

    def __init__(self, device: torch.device | str = "cpu"):
        self.device = torch.device(device)

    def __call__(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """Scores (N,), fp32, in `unit`, of images (N, 3, H, W) in [0, 1] for N prompts.

        Raises TypeError or ValueError for images of another type, shape or range.
        """
        return self.score(checked(images, prompts), prompts).float()

    @torch.no_grad()
    def reference(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """As the evaluation scores: with the reward's published preprocessing, where it has one of its own."""
        return self.reference_score(checked(images, prompts), prompts).float()

    def score(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """What a subclass implements: (N,), with the graph if `differentiable`."""
        raise NotImplementedError

    def reference_score(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """What a learned reward overrides: published preprocessing on 8-bit images, no graph."""
        return self.score(images, prompts)


def checked(images: Tensor, prompts: Sequence[str]) -> Tensor:
    """The images, if they are floats (N, 3, H, W) in [0, 1], one for each prompt. A range is never guessed.

    NaN passes: whoever averages scores refuses it with the place where it arose.
    """
    if not torch.is_floating_point(images):
        raise TypeError(f"images are floats in [0, 1], got {images.dtype}")
    if images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(f"images have the shape (N, 3, H, W), got {tuple(images.shape)}")
    if len(images) != len(prompts):
        raise ValueError(f"{len(images)} images for {len(prompts)} prompts")
    if bool((images < 0).any()) or bool((images > 1).any()):
        raise ValueError("images hold values outside [0, 1]")
    return images
