"""Frozen models that a tuner compares the trained model with: the reference, and moving averages."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Annotated, Any, Literal

from pydantic import Field
from torch import Tensor

from ril_bench.diffusion.model import DiffusionModel

#: previous: the model when the task began, with the adapters of earlier tasks; pretrained: the model without adapters
ReferenceName = Literal["previous", "pretrained"]

Share = Annotated[float, Field(ge=0, le=1)]
#: (wait, start, slope, most): the decay of a moving average at update n is `start` until update `wait`, then
#: start + slope (n - wait), and at most `most`
Decay = tuple[Annotated[int, Field(ge=0)], Share, Annotated[float, Field(ge=0)], Share]


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


class MovingAverage(ReferenceModel):
    """A moving average of the trained model: old <- d old + (1 - d) model after each update.

    The factors of the LoRA are averaged, as the releases of DiffusionNFT and CRD do [code]. d depends on the number
    of updates so far.
    """

    def __init__(self, model: DiffusionModel, decay: Decay):
        super().__init__(model)
        self._decay, self._updates = decay, 0

    def follow(self, model: DiffusionModel, updates: int = 1) -> None:
        """Moves toward the model, after some updates.

        A model of another rank is taken as it is: a method may have merged adapters.
        """
        self._updates += updates
        wait, start, slope, most = self._decay
        decay = min(start + slope * max(self._updates - wait, 0), most)
        new = ReferenceModel(model).lora
        if {name: factor.shape for name, factor in new.items()} != {
            name: f.shape for name, f in self.lora.items()
        }:
            decay = 0.0
        self.lora = {
            name: factor + decay * (self.lora[name] - factor) if decay else factor
            for name, factor in new.items()
        }

    def state_dict(self) -> dict[str, Any]:
        """The average and the number of updates, for a resume."""
        return {"lora": self.lora, "updates": self._updates}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what `state_dict` returned."""
        self.lora, self._updates = dict(state["lora"]), state["updates"]
