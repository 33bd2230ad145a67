"""The attribute classifier finds the shapes, colours, size and background of an image.

No tuner trains on it.

On shapes, FID, KID, feature cosine and diversity also use its penultimate features (64 numbers), and the perceptual
distance uses the feature maps of its blocks.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from ril_bench.remote.weights import verified
from ril_bench.worlds.shapes import WEIGHTS
from ril_bench.worlds.shapes.captions import COLOURS, RELATIONS, SHAPES, SIZES, TEXTURES, Caption

CLASSIFIER = WEIGHTS / "classifier.safetensors"
NOTHING = "none"
#: The questions about an image and their possible answers. Of two objects, `a` is the upper or left one.
QUESTIONS: dict[str, tuple[str, ...]] = {
    "shape_a": SHAPES,
    "colour_a": COLOURS,
    "size": (*SIZES, NOTHING),
    "relation": (NOTHING, *RELATIONS),
    "shape_b": (NOTHING, *SHAPES),
    "colour_b": (NOTHING, *COLOURS),
    "texture": TEXTURES,
    "background": COLOURS,
}
FEATURES = 64
BLOCKS = 6


def answers(caption: Caption) -> dict[str, str]:
    """The right answer to every question for an image of `caption`."""
    (colour_a, shape_a), (colour_b, shape_b) = (*caption.objects, (NOTHING, NOTHING))[:2]
    return {
        "shape_a": shape_a,
        "colour_a": colour_a,
        "size": caption.size or NOTHING,
        "relation": caption.relation or NOTHING,
        "shape_b": shape_b,
        "colour_b": colour_b,
        "texture": caption.texture,
        "background": caption.background,
    }


def labels(captions: list[Caption]) -> Tensor:
    """Right answers as indices, (N, questions)."""
    right = [answers(caption) for caption in captions]
    return torch.tensor([[QUESTIONS[q].index(answer[q]) for q in QUESTIONS] for answer in right])


def _block(inputs: int, outputs: int, kernel: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.SiLU(),
    )


class Classifier(nn.Module):
    """A small convolutional network with one head for each question.

    Images are (N, 3, 64, 64) in [0, 1].
    """

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            _block(3, 24, 5, 2),
            _block(24, 48, 3, 2),
            _block(48, 64, 3, 1),
            _block(64, 96, 3, 2),
            _block(96, 96, 3, 1),
            _block(96, 96, 3, 2),
            nn.Flatten(),
            nn.Linear(96 * 16, FEATURES),
        )
        self.heads = nn.ModuleDict({q: nn.Linear(FEATURES, len(options)) for q, options in QUESTIONS.items()})

    def features(self, images: Tensor) -> Tensor:
        """Features (N, 64)."""
        return self.trunk(images * 2 - 1)

    def maps(self, images: Tensor) -> list[Tensor]:
        """Each block's feature maps, finest first: (N, 24, 32, 32) to (N, 96, 4, 4)."""
        x, found = images * 2 - 1, []
        for block in self.trunk[:BLOCKS]:
            x = block(x)
            found.append(x)
        return found

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Logits by question, (N, options)."""
        features = nn.functional.silu(self.features(images))
        return {question: head(features) for question, head in self.heads.items()}

    def correct(self, images: Tensor, captions: list[Caption]) -> Tensor:
        """Which attributes are right, (N, questions), bool."""
        chosen = torch.stack([logits.argmax(1) for logits in self(images).values()], dim=1)
        return chosen == labels(captions).to(images.device)


def load_classifier(device: torch.device | str = "cpu", file: Path = CLASSIFIER) -> Classifier:
    """The attribute classifier of a file, frozen, fp32."""
    model = Classifier()
    state = load_file(verified(file))
    model.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in state.items()})
    return model.to(device).eval().requires_grad_(False)
