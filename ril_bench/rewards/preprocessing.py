"""The preprocessing of learned rewards: as published, and a differentiable version of it.

Both make the same calls of torchvision, on 8-bit PIL images or on float tensors with their graph: bicubic resize
(a = -0.5, antialiased, as in PIL), crop or pad, normalise. They differ in one point: PIL rounds and clips to 8 bits at
each pass of the resize. The differentiable version does not, as a clipped value has no gradient. On photographs of 512
pixels the difference is 0.27 grey levels in the mean, and 5 at most where the resize does not overshoot.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torchvision.transforms.functional as T
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True)
class Preprocessing:
    """CLIP preprocessing: resize the shorter side to `side` pixels, crop the centre, normalise [code: openai/CLIP]."""

    side: int = 224
    mean: Sequence[float] = CLIP_MEAN
    std: Sequence[float] = CLIP_STD

    def differentiable(self, images: Tensor) -> Tensor:
        """(N, 3, side, side) with the graph of the images (N, 3, H, W) in [0, 1]."""
        return self.normalised(self.fitted(images))

    def published(self, images: Tensor) -> Tensor:
        """(N, 3, side, side) by the published code, from the images in 8 bits; without a graph."""
        fitted = [T.to_tensor(self.fitted(image)) for image in pil_images(images)]
        return self.normalised(torch.stack(fitted).to(images.device))

    def fitted(self, image: Any) -> Any:
        """A PIL image, or tensors (N, 3, H, W), resized and cropped to the network's size."""
        resized = T.resize(image, self.side, InterpolationMode.BICUBIC, antialias=True)
        return T.center_crop(resized, [self.side, self.side])

    def normalised(self, images: Tensor) -> Tensor:
        """The images with mean 0 and standard deviation 1 over the training set, channel by channel."""
        mean, std = (images.new_tensor(list(values)).view(3, 1, 1) for values in (self.mean, self.std))
        return (images - mean) / std


class LongestSide(Preprocessing):
    """HPSv2's preprocessing: resize the longer side to `side` pixels, pad the rest with black [code: tgxs002/HPSv2].

    It resizes tensors, not PIL images, so nothing is rounded after the resize. The torchvision of 2023 did not
    antialias tensors. The current version does, also where it runs the published code.
    """

    def published(self, images: Tensor) -> Tensor:
        return self.differentiable((images * 255).round() / 255)

    def fitted(self, image: Any) -> Any:
        height, width = image.shape[-2:]
        scale = self.side / max(height, width)
        height, width = round(height * scale), round(width * scale)
        image = T.resize(image, [height, width], InterpolationMode.BICUBIC, antialias=True)
        left, top = (self.side - width) // 2, (self.side - height) // 2
        return T.pad(image, [left, top, self.side - width - left, self.side - height - top])


def pil_images(images: Tensor) -> list[Image.Image]:
    """Images (N, 3, H, W) in [0, 1], on any device, as 8-bit PIL images."""
    return [T.to_pil_image(image) for image in (images.detach() * 255).round().byte().cpu()]
