"""The feature networks for images of real models.

They are Inception for FID and KID, DINOv2 for content, and AlexNet for LPIPS.

They are loaded when a run is scored. Files that are not on this machine are downloaded then.
"""

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

from ril_bench.remote.file import RemoteFile
from ril_bench.remote.published import published
from ril_bench.rewards.checkpoints import filled, read_state
from ril_bench.storage.known_digests import file_digest
from ril_bench.worlds.features import Features, or_note
from ril_bench.worlds.missing import package_fault
from ril_bench.worlds.table import ALEXNET, DINO, INCEPTION

BATCH = 16
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def device() -> torch.device:
    """A GPU if there is one: these networks are large."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def weights_of(file: RemoteFile) -> dict[str, str]:
    """The weights that a metric is computed with, for its convention."""
    return {"weights": f"{file.repo}/{file.file}", "sha256": file_digest(file.fetch())}


class Batched:
    """An extractor that computes features in parts of 16 images."""

    def __init__(self) -> None:
        self.device = device()

    @torch.no_grad()
    def __call__(self, images: Tensor) -> NDArray[np.float64]:
        """Features (N, d) of 8-bit images (N, 3, H, W)."""
        parts = [self.features(part.to(self.device)) for part in images.split(BATCH)]
        return torch.cat(parts).double().cpu().numpy()

    def features(self, images: Tensor) -> Tensor:
        """Features (N, d) of a part that fits into memory."""
        raise NotImplementedError


class Inception(Batched):
    """The network of the published FID (arXiv 1706.08500), as torch-fidelity ported it.

    Images are resized to 299 pixels with TensorFlow's bilinear filter, without antialiasing.
    Raises UserError if torch-fidelity is not installed.
    """

    file: ClassVar[RemoteFile] = published("inception")

    def __init__(self) -> None:
        if fault := package_fault(INCEPTION):
            raise fault
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

        super().__init__()
        path = self.file.fetch()
        read_state(path)  # a check that torch-fidelity does not do when it reads the file
        self.network = FeatureExtractorInceptionV3("inception", ["2048"], str(path)).to(self.device)
        self.convention: dict[str, Any] = {
            "extractor": "Inception-v3 of 2015 by torch-fidelity, pool3",
            "dimension": 2048,
            "resize": "299 pixels, bilinear as TensorFlow 1, from 8-bit PNG",
            **weights_of(self.file),
        }

    def features(self, images: Tensor) -> Tensor:
        (found,) = self.network(images)
        return found


class Dino(Batched):
    """The class token of DINOv2 ViT-L/14 (arXiv 2304.07193).

    The preprocessing is that of dgm-eval (arXiv 2306.04675) [code]: images are resized to 224 pixels with PIL's bicubic
    filter. transformers resizes the positional embedding slightly differently from the original code, so FD-DINOv2 is
    close to published values, not equal.
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
            **weights_of(self.file),
        }

    def features(self, images: Tensor) -> Tensor:
        return self.network(self.prepared(images)).last_hidden_state[:, 0]

    def prepared(self, images: Tensor) -> Tensor:
        """The input of the network for 8-bit images: (N, 3, side, side), normalised."""
        size = [self.side, self.side]
        small = [
            T.to_tensor(T.resize(T.to_pil_image(image), size, InterpolationMode.BICUBIC))
            for image in images.cpu()
        ]
        return T.normalize(torch.stack(small), IMAGENET_MEAN, IMAGENET_STD).to(self.device)


class AlexNetMaps:
    """AlexNet and the channel weights of LPIPS 0.1 (arXiv 1801.03924), without a resize."""

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
            **weights_of(self.linear),
        }

    @torch.no_grad()
    def __call__(self, images: Tensor) -> list[Tensor]:
        """The activations (N, C, H, W) of 8-bit images (N, 3, H, W), finest first."""
        x, found = self.prepared(images.to(self.device)), []
        for number, layer in enumerate(self.network):
            x = layer(x)
            if number in self.taps:
                found.append(x)
        return found

    def prepared(self, images: Tensor) -> Tensor:
        """Images in [-1, 1], shifted and scaled by the constants of LPIPS.

        The constants are ImageNet's mean and standard deviation in three digits.
        """
        shift, scale = (
            torch.tensor(three, device=self.device).view(3, 1, 1)
            for three in ((-0.030, -0.088, -0.188), (0.458, 0.448, 0.450))
        )
        return (2 * images.float() / 255 - 1 - shift) / scale


def load(notes: list[str]) -> Features:
    """The networks that are here or can be downloaded; adds a note for each other network."""
    return Features(
        distribution=or_note(Inception, INCEPTION, notes),
        content=or_note(Dino, DINO, notes),
        perceptual=or_note(AlexNetMaps, ALEXNET, notes),
    )
