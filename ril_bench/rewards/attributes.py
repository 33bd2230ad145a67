"""Is the picture still what the prompt says? The GenEval of shapes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from safetensors.torch import load_file
from torch import Tensor

from ril_bench.errors import UserError
from ril_bench.rewards.base import Reward
from ril_bench.weights import verified
from ril_bench.worlds.shapes import WEIGHTS
from ril_bench.worlds.shapes.captions import parse
from ril_bench.worlds.shapes.classifier import Classifier


def load_classifier(device: torch.device | str = "cpu") -> Classifier:
    """The shipped attribute classifier, frozen, fp32."""
    model = Classifier()
    state = load_file(verified(WEIGHTS / "classifier.safetensors"))
    model.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in state.items()})
    return model.to(device).eval().requires_grad_(False)


class Attributes(Reward):
    """The share of the prompt's attributes (shape, colour, size, relation, texture, background) that a
    classifier, trained on renders only, finds in the picture."""

    name = "attributes"
    unit = "share right"
    differentiable = False
    weights = (WEIGHTS / "classifier.safetensors",)

    def __init__(self, device: torch.device | str = "cpu"):
        super().__init__(device)
        self.classifier = load_classifier(self.device)

    def score(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        try:
            captions = [parse(prompt) for prompt in prompts]
        except ValueError as error:
            raise UserError(
                f"the probe attributes judges prompts of the shapes world only: {error}",
                where="evaluation.probes",
                mend="leave attributes out of the probes, or use the prompts shapes/eval",
            ) from error
        return self.classifier.correct(images, captions).float().mean(1)
