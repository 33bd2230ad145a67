"""lwf: learning without forgetting (Li & Hoiem 2016, arXiv 1606.09282), for the predictions of a denoiser."""

from typing import Annotated, Literal

import torch
from pydantic import Field

from ril_bench import Method


class Lwf(Method):
    """A new LoRA for each reward, kept close to the predictions of the model before the task.

        loss = strength * mean (f(theta) - sg f(before))^2

    on the tuner's differentiated predictions, which have the new task's prompts, as in the paper. f is the noise that
    a model predicts, the clean latents x0hat, or their image [ours]. The teacher does not change within a task: RID
    with decay 1.
    """

    class Options(Method.Options):
        strength: Annotated[float, Field(ge=0)] = 10.0
        """Weight of the loss beside rewards in sigma, as tuned (lwf.tuning.json) for one tuner and one space."""
        space: Literal["noise", "x0", "image"] = "x0"
        """f: where the two models are compared."""

    def bind(self, model):
        self._model = model

    def start_task(self, task, model):
        name = f"task-{task.index}"
        model.add_adapter(name, seed_key=task.key)
        model.activate({**model.active, name: 1.0}, train=[name])

    def prediction_loss(self, prediction):
        model, inputs = self._model, (prediction.x_t, prediction.t, prediction.prompts, prediction.guidance)
        before = {name: scale for name, scale in model.active.items() if name not in model.trained}
        with torch.no_grad(), model.folded(before):
            target = self._compared(prediction.with_output(model.predict(*inputs)))
        return self.options.strength * (self._compared(prediction) - target).square().mean()

    def _compared(self, prediction):
        if self.options.space == "noise":
            return prediction.noise()
        return prediction.x0() if self.options.space == "x0" else self._model.decode(prediction.x0())
