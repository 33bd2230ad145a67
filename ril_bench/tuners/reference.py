"""The frozen reference model that a tuner keeps the trained model close to."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Literal

from torch import Tensor

from ril_bench.diffusion.model import DiffusionModel

#: previous: the model when the task began, with the adapters of earlier tasks; pretrained: the model without adapters
ReferenceName = Literal["previous", "pretrained"]


class ReferenceModel:
    """The model as it is now ("previous"), or the pretrained model, frozen.

    Attributes:
        lora: the reference's only state, ONE LoRA with the sum of the active adapters; empty for the pretrained model.
    """

    def __init__(self, model: DiffusionModel, name: ReferenceName = "previous"):
        joined = model.joined() if name == "previous" else {}
        self.lora: dict[str, Tensor] = {name: factor.to(model.device) for name, factor in joined.items()}

    def loaded(self, model: DiffusionModel) -> AbstractContextManager[None]:
        """A context in which `model` predicts what the reference predicts, at the speed of a plain denoiser."""
        return model.folded_lora(self.lora)
