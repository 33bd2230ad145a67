"""What the images of real models are measured with: Inception for FID and KID, DINOv2 for what they show, AlexNet
for LPIPS. Loaded when a run is scored, from this machine where the files are there."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
import torchvision.transforms.functional as T
from accelerate import init_empty_weights
from numpy.typing import NDArray
from torch import Tensor
from torchvision.models import alexnet
from torchvision.transforms import InterpolationMode
from transformers import Dinov2Config, Dinov2Model

from ril_bench.errors import UserError
from ril_bench.remote.file import RemoteFile, digest
from ril_bench.remote.published import published
from ril_bench.rewards.checkpoints import filled, read_state
from ril_bench.worlds.features import Features, or_note

BATCH = 16
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def device() -> torch.device:
    """A GPU where there is one: these are large networks."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def told(file: RemoteFile) -> dict[str, str]:
    """Which file a figure was computed with, for its convention."""
    return {"weights": f"{file.repo}/{file.file}", "sha256": digest(file.fetch())}


class Batched:
    """An extractor that sees images in parts."""

    def __init__(self) -> None:
        self.device = device()

    @torch.no_grad()
    def __call__(self, images: Tensor) -> NDArray[np.float64]:
        """(N, d) of 8-bit images (N, 3, H, W)."""
        parts = [self.features(part.to(self.device)) for part in images.split(BATCH)]
        return torch.cat(parts).double().cpu().numpy()

    def features(self, images: Tensor) -> Tensor:
        """(N, d) of a part that fits into memory."""
        raise NotImplementedError


class Inception(Batched):
    """The network of the published FID (arXiv 1706.08500), TensorFlow's of 2015, as torch-fidelity ported it: its
    resize to 299 pixels is TensorFlow's bilinear one, not antialiased. Raises UserError without torch-fidelity."""

    file: ClassVar[RemoteFile] = published("inception")

    def __init__(self) -> None:
        try:
            from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
        except ImportError as error:
            raise UserError(
                "Inception comes with torch-fidelity, which is not installed",
                hint="pip install 'ril-bench[real]'",
            ) from error
        super().__init__()
        path = self.file.fetch()
        read_state(path)  # torch-fidelity reads it without this check
        self.network = FeatureExtractorInceptionV3("inception", ["2048"], str(path)).to(self.device)
        self.convention: dict[str, Any] = {
            "extractor": "Inception-v3 of 2015 by torch-fidelity, pool3",
            "dimension": 2048,
            "resize": "299 pixels, bilinear as TensorFlow 1, from 8-bit PNG",
            **told(self.file),
        }

    def features(self, images: Tensor) -> Tensor:
        (found,) = self.network(images)
        return found


class Dino(Batched):
    """DINOv2 ViT-L/14 (arXiv 2304.07193), its class token, with dgm-eval's preprocessing (arXiv 2306.04675) [code].

    PIL's bicubic resize to 224 pixels. transformers fits the positional embedding to them a little otherwise than the
    original, so figures beside published ones of FD-DINOv2 are close, not equal.
    """

    file: ClassVar[RemoteFile] = published("dinov2-large")
    config: ClassVar[Dinov2Config] = Dinov2Config(
        hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, image_size=518, patch_size=14
    )
    side: ClassVar[int] = 224

    def __init__(self) -> None:
        super().__init__()
        path = self.file.fetch()
        with init_empty_weights():
            empty = Dinov2Model(self.config)
        self.network = filled(empty, read_state(path), path, self.device)
        self.convention: dict[str, Any] = {
            "extractor": "DINOv2, class token",
            "dimension": self.config.hidden_size,
            "resize": f"{self.side} pixels, PIL bicubic, from 8-bit PNG",
            **told(self.file),
        }

    def features(self, images: Tensor) -> Tensor:
        return self.network(self.seen(images)).last_hidden_state[:, 0]

    def seen(self, images: Tensor) -> Tensor:
        """What the network sees of 8-bit images: (N, 3, side, side), normalised."""
        size = [self.side, self.side]
        small = [
            T.to_tensor(T.resize(T.to_pil_image(one), size, InterpolationMode.BICUBIC))
            for one in images.cpu()
        ]
        return T.normalize(torch.stack(small), IMAGENET_MEAN, IMAGENET_STD).to(self.device)


class AlexNetMaps:
    """LPIPS's (arXiv 1801.03924) AlexNet and what its channels count for, version 0.1, on images as they are."""

    trunk: ClassVar[RemoteFile] = published("alexnet")
    linear: ClassVar[RemoteFile] = published("lpips-alex")
    taps: ClassVar[tuple[int, ...]] = (1, 4, 7, 9, 11)  # after each ReLU

    def __init__(self) -> None:
        self.device = device()
        trunk, linear = self.trunk.fetch(), self.linear.fetch()
        with init_empty_weights():
            empty = alexnet()
        self.network = filled(empty, read_state(trunk), trunk, self.device).features
        state = read_state(linear)
        layers = range(len(self.taps))
        self.weights = [state[f"lin{i}.model.1.weight"].flatten().to(self.device) for i in layers]
        self.convention: dict[str, Any] = {
            "extractor": "LPIPS 0.1, AlexNet; images in their own size",
            **told(self.linear),
        }

    @torch.no_grad()
    def __call__(self, images: Tensor) -> list[Tensor]:
        """The activations (N, C, H, W) of 8-bit images (N, 3, H, W), finest first."""
        x, found = self.seen(images.to(self.device)), []
        for number, layer in enumerate(self.network):
            x = layer(x)
            if number in self.taps:
                found.append(x)
        return found

    def seen(self, images: Tensor) -> Tensor:
        """LPIPS shifts and scales images in [-1, 1]; ImageNet's mean and deviation, to its own three digits."""
        shift, scale = (
            torch.tensor(three, device=self.device).view(3, 1, 1)
            for three in ((-0.030, -0.088, -0.188), (0.458, 0.448, 0.450))
        )
        return (2 * images.float() / 255 - 1 - shift) / scale


def load(notes: list[str]) -> Features:
    """Those that can be had; `notes` is told of the others."""
    return Features(
        distribution=or_note(Inception, "FID or KID", notes),
        content=or_note(Dino, "feature cosine, diversity or FD-DINOv2", notes),
        perceptual=or_note(AlexNetMaps, "LPIPS", notes),
    )
