"""lwf: learning without forgetting (Li & Hoiem 2016, arXiv 1606.09282), for noise predictions."""

from typing import Annotated, Literal

import torch
from pydantic import Field

from ril_bench import Method


class Lwf(Method):
    """A fresh LoRA for each reward, held to what the model before the task predicts.

        loss = strength * mean (f(eps_theta) - sg f(eps_before))^2

    on the tuner's graded calls, which are on the new task's prompts, as in the paper; f is the noise itself, the clean
    latents x0hat that it stands for, or their image [ours]. The teacher never moves: RID at decay 1.
    """

    class Options(Method.Options):
        #: weight of the loss, as tuned (lwf.tuning.json); it belongs to a tuner and a space
        strength: Annotated[float, Field(ge=0)] = 10.0
        space: Literal["noise", "x0", "image"] = "x0"  # where the two models are compared

    def bind(self, model):
        self._model = model

    def start_task(self, task, model):
        name = f"task-{task.index}"
        model.add_adapter(name, seed_key=task.key)
        model.activate({**model.active, name: 1.0}, train=[name])

    def prediction_loss(self, prediction):
        model, asked = self._model, (prediction.x_t, prediction.t, prediction.prompts, prediction.guidance)
        before = {name: scale for name, scale in model.active.items() if name not in model.trained}
        with torch.no_grad(), model.folded(before):
            target = self._seen(prediction.with_eps(model.predict(*asked)))
        return self.options.strength * (self._seen(prediction) - target).square().mean()

    def _seen(self, prediction):
        if self.options.space == "noise":
            return prediction.eps
        return prediction.x0() if self.options.space == "x0" else self._model.decode(prediction.x0())
