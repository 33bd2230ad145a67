"""Tuners that learn on noised own images and compare with an old policy: DiffusionNFT and CRD.

Such a tuner needs neither the steps of the rollout nor their densities, so the sampler may be deterministic.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from ril_bench.diffusion.model import DiffusionModel
from ril_bench.diffusion.sampler import Prediction, latent_noise, predict_step
from ril_bench.tuners.base import Cost, MicroBatch, OpenGraphs, Task
from ril_bench.tuners.reference import Decay, MovingAverage
from ril_bench.tuners.rollouts import RolloutTuner, Trajectory, sample_trajectory
from ril_bench.tuners.samples import CLIP_ADVANTAGE, advantages, stratified_steps

SMALLEST_ERROR = 1e-5  # [code]


def optimality(rewards: Tensor, whole: Tensor) -> Tensor:
    """q = clip(A / 10 + 1/2, 0, 1) of rewards (copies, N); 1/2 where the rewards of a prompt are equal. [code]

    A = (r - mean over the prompt's copies) / deviation of `whole`, the rewards (copies, B) of the batch.
    """
    return (advantages(rewards, whole) / (2 * CLIP_ADVANTAGE) + 0.5).clamp(0, 1)


def scaled_error(found: Tensor, given: Tensor) -> Tensor:
    """mean (found - given)^2 / w, (N,), with w = sg mean |found - given| of each sample. [code]"""
    error = (found - given).flatten(1)
    scale = error.detach().abs().mean(1).clamp(min=SMALLEST_ERROR)
    return error.square().mean(1) / scale


class Noised(NamedTuple):
    """A noised version of a batch of images.

    Attributes:
        x0: (N, C, h, w), the images' latents.
        noise: (N, C, h, w).
        x_t: (N, C, h, w), x0 with the noise of `step`.
        step: the step of the sampler.
        prompts: the N prompts.
    """

    x0: Tensor
    noise: Tensor
    x_t: Tensor
    step: int
    prompts: list[str]

    def predicted(self, model: DiffusionModel, task: Task, guidance: float = 1.0) -> Prediction:
        """The model's prediction at x_t."""
        return predict_step(model, task.sampler, self.x_t, self.step, self.prompts, guidance)


class ForwardProcessTuner(RolloutTuner):
    """A tuner whose loss is on noised images that an old policy sampled. `_old` exists from `start_task` on.

    The old policy is a moving average of the trained model. The predictions are conditional, without guidance;
    the images are sampled with the sequence's guidance [ours; the papers use none]. t is one of the sampler's own
    steps, one drawn from each of equal segments.
    """

    class Options(RolloutTuner.Options):
        samples: Annotated[int, Field(ge=2, strict=True)] = 4
        """Images of each prompt."""
        noises: Annotated[int, Field(ge=1, strict=True)] = 4
        """Noised versions of each image in an update."""
        decay: Decay = (0, 0.0, 0.001, 0.5)
        """(wait, start, slope, most): the decay of the moving average that samples is `start` until update `wait`,
        then grows by `slope` with each update, up to `most` [code]. (0, 0, 0, 0): the model itself samples."""

    options: Options
    needs = frozenset({"reward"})

    @property
    def copies(self) -> int:
        return self.options.samples

    @property
    def compares_batch(self) -> bool:
        return True

    def start_task(self, task: Task, model: DiffusionModel) -> None:
        super().start_task(task, model)
        self._old = MovingAverage(model, self.options.decay)

    def open_graphs(self, steps: int, guided: int) -> OpenGraphs:
        return OpenGraphs(1, together=False)  # a conditional prediction, without guidance

    def noised_cost(self, steps: int, others: float) -> Cost:
        """What the loss costs for each prompt: a prediction of each noised image, and `others` of frozen models."""
        predictions = self.copies * self._noises(steps)
        return Cost((1 + others) * predictions, predictions)

    def _noises(self, steps: int) -> int:
        """The number of noised versions of each image."""
        return min(self.options.noises, steps)

    def sample_copy(self, model: DiffusionModel, task: Task, batch: MicroBatch, j: int) -> Trajectory:
        with self._old.loaded(model):
            return sample_trajectory(model, task, batch.prompts, batch.draws.copy(j), images_only=True)

    def optimality(self, batch: MicroBatch, copies: list[Trajectory]) -> Tensor:
        """q (copies, N) of the images of a micro-batch."""
        assert batch.rewards is not None, "training gives the rewards of the batch"
        return optimality(torch.stack([copy.reward for copy in copies]), batch.rewards)

    def drawn_steps(self, task: Task, batch: MicroBatch) -> list[int]:
        """The steps whose noise is added to the images; the same for all images of an update."""
        steps = task.sampler.steps
        return stratified_steps(steps, self._noises(steps), batch.draws, "t")

    def noised(
        self, model: DiffusionModel, task: Task, batch: MicroBatch, copy: Trajectory, j: int, i: int
    ) -> Noised:
        """Copy j of each prompt's image with the noise of step i."""
        noise = latent_noise(model, batch.draws.copy(j), "noise", i)
        return Noised(copy.x0, noise, task.sampler.noised(copy.x0, noise, i), i, batch.prompts)

    @torch.no_grad()
    def old_prediction(self, model: DiffusionModel, task: Task, noised: Noised) -> Prediction:
        """The prediction of the old policy."""
        with self._old.loaded(model):
            return noised.predicted(model, task)

    @torch.no_grad()
    def reference_prediction(
        self, model: DiffusionModel, task: Task, noised: Noised, guidance: float = 1.0
    ) -> Prediction:
        """The prediction of the reference model."""
        with self._reference.loaded(model):
            return noised.predicted(model, task, guidance)

    def after_update(self, model: DiffusionModel) -> None:
        super().after_update(model)
        if (
            self._buffer.is_empty()
        ):  # until then the loss compares the model with the policy that sampled the images
            for average in self.averages():
                average.follow(model, self.options.reuse)

    def averages(self) -> list[MovingAverage]:
        """The moving averages of the trained model."""
        return [self._old]

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "old": self._old.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self._old.load_state_dict(state["old"])
