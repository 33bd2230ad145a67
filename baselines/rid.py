"""rid: Reward Incremental Distillation (arXiv 2411.17310)."""

from typing import Annotated, Literal

import torch
from pydantic import Field, model_validator

from ril_bench import Method


class Rid(Method):
    """A new LoRA for each reward, and distillation from a momentum teacher.

    Published [abstract, review]: a group of adapters, one for each reward, the earlier ones frozen; momentum
    distillation from an EMA teacher. We could not read the details; the following is our choice, with options [ours]:
    the teacher has the base weights, the frozen adapters, and the moving average of the current adapter's delta,

        teacher <- m teacher + (1 - m) (alpha/r) B A          (after each update; 0 when a task starts)
        loss     = strength * mean (f(theta) - sg f(teacher))^2

    on the tuner's differentiated predictions. f is the clean latents x0hat that a prediction implies; the noise or the
    decoded image in their place makes no difference (docs/results/rid.md). Averages are of deltas, not of factors. It
    costs one more forward of the denoiser for each differentiated call.
    """

    class Options(Method.Options):
        strength: Annotated[float, Field(ge=0)] = 10.0
        """Weight of the loss beside rewards in sigma, as tuned (rid.tuning.json) for one tuner."""
        decay: Annotated[float, Field(ge=0, le=1)] = 0.99
        """m, the decay of the moving average; at 1 the teacher is the model before the task (as in lwf)."""
        bias_correction: bool = False
        """Divide the average by 1 - m^n after n updates, so that the teacher follows the student from the
        first update on."""
        teacher: Literal["restart", "keep"] = "restart"
        """The earlier tasks in the teacher. restart: the frozen adapters; keep: the teacher's averages of them."""

        @model_validator(mode="after")
        def _correctable(self):
            if self.bias_correction and self.decay == 1:
                raise ValueError("a decay of 1 has no bias to correct: its average stays at 0")
            return self

    def bind(self, model):
        self._model = model
        self._average, self._updates = {}, 0  # of the current adapter's delta, {layer: (out, in)}
        self._past = {}  # the teacher's deltas of earlier tasks, which replace their adapters ("keep")

    def start_task(self, task, model):
        if self.options.teacher == "keep":
            self._past = _sum(self._past, self._teacher())
        name = f"task-{task.index}"
        model.add_adapter(name, seed_key=task.key)
        model.activate({**model.active, name: 1.0}, train=[name])
        self._average = {layer: torch.zeros_like(delta) for layer, delta in model.delta(name).items()}
        self._updates = 0

    def prediction_loss(self, prediction):
        frozen = {
            name: scale for name, scale in self._model.active.items() if name not in self._model.trained
        }
        if self.options.teacher == "keep":
            frozen = {}
        with torch.no_grad(), self._model.folded(frozen, deltas=_sum(self._past, self._teacher())):
            out = self._model.predict(prediction.x_t, prediction.t, prediction.prompts, prediction.guidance)
            target = prediction.with_output(out).x0()
        return self.options.strength * (prediction.x0() - target).square().mean()

    def after_update(self):
        (name,), m = self._model.trained, self.options.decay
        for layer, delta in self._model.delta(name).items():
            self._average[layer].mul_(m).add_(delta, alpha=1 - m)
        self._updates += 1

    def state_dict(self):
        return {"average": self._average, "updates": self._updates, "past": self._past}

    def load_state_dict(self, state):
        self._average, self._updates, self._past = state["average"], state["updates"], state["past"]

    def _teacher(self):
        bias = 1 - self.options.decay**self._updates
        scale = 1 / bias if self.options.bias_correction and bias else 1.0
        return {layer: scale * delta for layer, delta in self._average.items()}


def _sum(a, b):
    return {layer: a.get(layer, 0) + b.get(layer, 0) for layer in {**a, **b}}
