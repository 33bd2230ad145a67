"""The feature networks for images of shapes: parts of the attribute classifier.

The classifier was trained on renders only.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ril_bench.worlds.features import Features
from ril_bench.worlds.shapes.classifier import load_classifier

BATCH = 256


class ShapesExtractor:
    """The classifier's penultimate layer, for sets of images and for the content of each image."""

    convention: ClassVar[dict[str, Any]] = {
        "extractor": "shapes attribute classifier, penultimate layer",
        "dimension": 64,
        "resize": "none: 64x64 as generated, 8-bit PNG",
    }

    def __init__(self) -> None:
        self._classifier = load_classifier()

    @torch.no_grad()
    def __call__(self, images: Tensor) -> NDArray[np.float64]:
        """Features (N, 64) of 8-bit images (N, 3, 64, 64)."""
        parts = [self._classifier.features(part.float() / 255) for part in images.split(BATCH)]
        return torch.cat(parts).double().numpy()


class ShapesMaps:
    """The classifier's convolution blocks, for the perceptual distance."""

    convention: ClassVar[dict[str, Any]] = {
        "extractor": "shapes attribute classifier, its 6 convolution blocks",
        "weights": "equal: uncalibrated, not comparable with a published LPIPS",
    }
    weights = None

    def __init__(self) -> None:
        self._classifier = load_classifier()

    @torch.no_grad()
    def __call__(self, images: Tensor) -> list[Tensor]:
        """The blocks' feature maps (N, C, H, W) of 8-bit images (N, 3, 64, 64), finest first."""
        return self._classifier.maps(images.float() / 255)


def load(notes: list[str]) -> Features:
    """All networks of the world. They ship with the package, so no note is added."""
    extractor = ShapesExtractor()
    return Features(distribution=extractor, content=extractor, perceptual=ShapesMaps())
