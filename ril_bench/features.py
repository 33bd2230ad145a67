"""Feature extractors for what is measured on pictures: never an encoder that a reward uses."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

BATCH = 256


class ShapesFeatures:
    """The attribute classifier's layers; it was trained on renders only."""

    convention: ClassVar[dict[str, Any]] = {
        "extractor": "shapes attribute classifier, penultimate layer",
        "dimension": 64,
        "resize": "none: 64x64 as generated, 8-bit PNG",
    }
    maps_convention: ClassVar[dict[str, Any]] = {
        "extractor": "shapes attribute classifier, its 6 convolution blocks",
        "weights": "equal: uncalibrated, not comparable with a published LPIPS",
    }

    def __init__(self) -> None:
        from ril_bench.worlds.shapes.classifier import load_classifier

        self._classifier = load_classifier()

    @torch.no_grad()
    def __call__(self, pictures: Tensor) -> NDArray[np.float64]:
        """(N, 64) of 8-bit pictures (N, 3, 64, 64)."""
        parts = [self._classifier.features(part.float() / 255) for part in pictures.split(BATCH)]
        return torch.cat(parts).double().numpy()

    @torch.no_grad()
    def maps(self, pictures: Tensor) -> list[Tensor]:
        """The blocks' feature maps (N, C, H, W) of 8-bit pictures (N, 3, 64, 64), finest first."""
        return self._classifier.maps(pictures.float() / 255)


def extractor(model: str) -> ShapesFeatures | None:
    """The extractor for a sequence's model, or None where there is none."""
    return ShapesFeatures() if model == "shapes-64" else None
