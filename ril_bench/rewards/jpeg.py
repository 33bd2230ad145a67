"""Rewards of JPEG compression: a differentiable distance, and the size of the real file."""

from __future__ import annotations

import io
from collections.abc import Sequence

import torch
from kornia.enhance import jpeg_codec_differentiable
from torch import Tensor
from torchvision.transforms.functional import to_pil_image

from ril_bench.rewards.base import Reward

QUALITY = 50  # quality of the differentiable codec: so low that detail is lost [ours]


def jpeg_distance(images: Tensor) -> Tensor:
    """Root mean square difference of each image and its JPEG, in grey levels of 255; (N,)."""
    quality = torch.full((len(images),), float(QUALITY), device=images.device)
    compressed = jpeg_codec_differentiable(images, quality)
    # The constant keeps the gradient of the root finite for an image that JPEG does not change.
    return 255 * ((images - compressed).square().mean(dim=(1, 2, 3)) + 1e-8).sqrt()


class Compressibility(Reward):
    """Minus the distance between an image and its JPEG, as in DRaFT (arXiv 2309.17400) [secondary]."""

    name = "compressibility"
    unit = "grey levels"

    def score(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        return -jpeg_distance(images)


class Incompressibility(Reward):
    """The distance between an image and its JPEG: the opposite of compressibility."""

    name = "incompressibility"
    unit = "grey levels"

    def score(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        return jpeg_distance(images)


class JpegKb(Reward):
    """The size of the real JPEG file at quality 95, as DDPO measures it (arXiv 2305.13301) [code]."""

    name = "jpeg_kb"
    unit = "kB"
    direction = -1
    differentiable = False

    def score(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        return torch.tensor([_size(image) / 1000 for image in images.detach().cpu()], device=images.device)


def _size(image: Tensor) -> int:
    file = io.BytesIO()
    to_pil_image((image * 255).round().byte()).save(file, "JPEG", quality=95)
    return file.tell()
