"""The rewards of the world: published classes with small weights, and `attributes`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from ril_bench.errors import UserError
from ril_bench.remote.weights import verified
from ril_bench.rewards.aesthetic import Aesthetic, AestheticHead
from ril_bench.rewards.base import Reward
from ril_bench.rewards.checkpoints import read_state
from ril_bench.rewards.clip import Clip, OpenClip
from ril_bench.rewards.cosine import CosineReward
from ril_bench.worlds.shapes import WEIGHTS
from ril_bench.worlds.shapes.captions import parse
from ril_bench.worlds.shapes.classifier import CLASSIFIER, load_classifier

ENCODER, HEAD = WEIGHTS / "clip-reward", WEIGHTS / "aesthetic.safetensors"
PREFERENCE, PROBE = WEIGHTS / "preference.safetensors", WEIGHTS / "clip-probe"


class ShapesAesthetic(Aesthetic):
    """The rating of an image by the world's aesthetic taste: about 1 to 10.

    It has LAION's architecture and does not read the prompt. It is trained on ratings by the taste that
    `worlds/shapes/tastes.py` states.
    """

    weights: ClassVar[tuple[Path, ...]] = (ENCODER, HEAD)

    def load(self) -> tuple[Clip, AestheticHead]:
        encoder, head = self.weights
        return (
            OpenClip.load(encoder, self.device),
            AestheticHead.of(read_state(verified(head)), head, self.device),
        )


class ShapesPreference(CosineReward):
    """Cosine of image and prompt, fine-tuned on pairs (HPSv2, arXiv 2306.09341, eq. 1 and 2).

    The pairs are judged by the stated taste of `worlds/shapes/tastes.py`: faithful to the prompt first, then large
    and clear.
    """

    name = "preference"
    unit = "cosine"
    weights: ClassVar[tuple[Path, ...]] = (ENCODER, PREFERENCE)

    def load(self) -> Clip:
        encoder, preference = self.weights
        return OpenClip.load(encoder, self.device, weights=preference)


class ShapesClipScore(CosineReward):
    """100 cos(image, prompt), by an encoder that is independent of the encoder of rewards."""

    name = "clip_score"
    unit = "100 cos"
    factor = 100.0
    weights: ClassVar[tuple[Path, ...]] = (PROBE,)

    def load(self) -> Clip:
        return OpenClip.load(self.weights[0], self.device)


class Attributes(Reward):
    """The share of the prompt's attributes that a classifier finds in the image (as GenEval).

    Attributes are shape, colour, size, relation, texture and background. The classifier was trained on renders only.
    """

    name = "attributes"
    unit = "share right"
    differentiable = False
    weights: ClassVar[tuple[Path, ...]] = (CLASSIFIER,)

    def __init__(self, device: torch.device | str = "cpu"):
        super().__init__(device)
        self.classifier = load_classifier(self.device, *self.weights)

    def score(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        try:
            captions = [parse(prompt) for prompt in prompts]
        except ValueError as error:
            raise UserError(
                f"the probe attributes judges prompts of the shapes world only: {error}",
                where="evaluation.probes",
                hint="leave attributes out of the probes, or use the prompts shapes/eval",
            ) from error
        return self.classifier.correct(images, captions).float().mean(1)
