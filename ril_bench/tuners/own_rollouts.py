"""Trains on the model's own rollouts by the losses of a method alone, without a reward."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field

from ril_bench.diffusion.model import DiffusionModel
from ril_bench.diffusion.sampler import Prediction, sample
from ril_bench.draws import generator
from ril_bench.tuners.base import Cost, Log, LossAccumulator, MicroBatch, Task, Tuner


class OwnRollouts(Tuner):
    """Samples rollouts without gradient, and predicts some of their steps again with gradient.

    The loss is the mean of the method's losses on these predictions; there is no other, and no image is decoded or
    scored. The steps are drawn again for each update, each at most once. An update of N samples takes T calls of the
    denoiser without gradient and `calls` with gradient.
    """

    class Options(Tuner.Options):
        calls: Annotated[int, Field(ge=1, strict=True)] = 4
        """Steps that are predicted again with gradient; at most those of the sampler."""

    options: Options

    def update_cost(self, steps: int, guided: int) -> Cost:
        calls = min(self.options.calls, steps)
        executed = calls * (steps + 1) / (calls + 1)  # the mean of the last of `calls` steps, counted from 1
        return Cost(guided * (executed + calls), guided * calls)

    def accumulate(self, model: DiffusionModel, task: Task, batch: MicroBatch) -> Log:
        steps = task.sampler.steps
        drawn = generator(batch.draws.key, "graded").permutation(steps)[: self.options.calls]
        visited: dict[int, Prediction] = {}

        def store(prediction: Prediction) -> None:
            if prediction.step in drawn:
                visited[prediction.step] = prediction

        with torch.no_grad():
            sample(
                model,
                task.sampler,
                batch.prompts,
                batch.draws,
                guidance=task.guidance,
                stop=int(max(drawn)),
                on_step=store,
            )
        losses = LossAccumulator(batch, calls=len(visited))
        for prediction in visited.values():
            out = model.predict(prediction.x_t, prediction.t, batch.prompts, prediction.guidance)
            losses.penalise(prediction.with_output(out))
            losses.backward(0.0 * out.sum())  # where the method has no loss, there is still a graph
        return losses.log(reward=0.0, loss=0.0)
