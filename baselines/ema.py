"""ema: average a task's weights, and keep a part of the change (after WARP, Rame et al. 2024, arXiv 2406.16768)."""

from typing import Annotated

import torch
from pydantic import Field

from ril_bench import Method


class Ema(Method):
    """A LoRA for each reward, over the frozen earlier ones. At the end of its task it becomes pull * (moving average).

        average <- m average + (1 - m) (alpha/r) B A   after each update, corrected for its start at 0
        delta_i <- pull * average                      at the end of the task: back toward its start

    WARP averages policies and interpolates toward their start; its spherical merge of several policies is left out
    [ours]. Averages are of deltas, and the adapter gets the nearest factors of its rank (Eckart-Young). The
    interpolation is the adapter's scale, which is exact.
    """

    class Options(Method.Options):
        decay: Annotated[float, Field(ge=0, lt=1)] = 0.9
        """m, the decay of the moving average."""
        pull: Annotated[float, Field(gt=0, le=1)] = 0.9
        """The part of the change that is kept, as tuned (ema.tuning.json); 1 keeps all."""

    def bind(self, model):
        self._model, self._average, self._updates = model, {}, 0

    def start_task(self, task, model):
        name = f"task-{task.index}"
        model.add_adapter(name, seed_key=task.key)
        model.activate({**model.active, name: 1.0}, train=[name])
        self._average = {layer: torch.zeros_like(delta) for layer, delta in model.delta(name).items()}
        self._updates = 0

    def after_update(self):
        (name,), m = self._model.trained, self.options.decay
        for layer, delta in self._model.delta(name).items():
            self._average[layer].mul_(m).add_(delta, alpha=1 - m)
        self._updates += 1

    def end_task(self, task, model):
        (name,) = model.trained
        bias = 1 - self.options.decay**self._updates or 1.0  # 0 after no update: the average is 0
        model.set_delta(name, {layer: average / bias for layer, average in self._average.items()})
        model.activate({**model.active, name: self.options.pull})

    def state_dict(self):
        return {"average": self._average, "updates": self._updates}

    def load_state_dict(self, state):
        self._average, self._updates = state["average"], state["updates"]
