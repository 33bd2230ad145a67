"""Supervised fine-tuning: the denoising loss on the tuner's own best images, or on given images."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

import torch
from pydantic import Field, field_validator
from torch import Tensor

from ril_bench.data.image_sets import Images, load_images, locate_images
from ril_bench.diffusion.model import DiffusionModel
from ril_bench.diffusion.sampler import latent_noise, predict_step
from ril_bench.tuners.base import Cost, Log, LossAccumulator, MicroBatch, OpenGraphs, Task, Tuner
from ril_bench.tuners.samples import scored_copies, stratified_steps


class Sft(Tuner):
    """SFT: loss = mean |target - out_theta(signal x_0 + level n, t, c)|^2; the baseline of SPIN.

    The target is the noise n, or the velocity, as the denoiser predicts it: its own training loss.

    x_0 is the best of a few own images of the prompt, or a given image, encoded. The choice needs the reward's values
    alone, so any reward can be used. The predictions are conditional, without guidance, as in every published
    denoising loss [code]. t is one of the sampler's own steps, one drawn from each of equal segments, as the sampler
    uses no others [ours].

    Cost: an update of N prompts takes `noises` calls of the denoiser with gradient and their backward. On own images
    it also takes samples x steps calls without gradient, and `samples` decodings and reward calls; on given images
    one encoding and one reward call, for the log alone.
    """

    class Options(Tuner.Options):
        samples: Annotated[int, Field(ge=2, strict=True)] = 4
        """Own images of each prompt; the best of them is learned."""
        noises: Annotated[int, Field(ge=1, strict=True)] = 4
        """Noised versions of each image in an update."""
        images: str | None = None
        """An image set to learn instead of own images: see ril_bench.data.image_sets."""

        @field_validator("images")
        @classmethod
        def _images_exist(cls, reference: Any) -> Any:
            if reference is not None:
                locate_images(reference)
            return reference

    options: Options
    needs = frozenset({"reward"})

    def __init__(self, **options: Any):
        super().__init__(**options)
        if self.options.images:
            self.needs = frozenset({"images"})

    def start_task(self, task: Task, model: DiffusionModel) -> None:
        reference = self.options.images
        self._images: Images | None = None
        if reference:
            self._images = load_images(reference, model.image_size, reward=task.name)

    def open_graphs(self, steps: int, guided: int) -> OpenGraphs:
        return OpenGraphs(1, together=False)  # a conditional prediction, without guidance

    def update_cost(self, steps: int, guided: int) -> Cost:
        noises, images = min(self.options.noises, steps), self.options.samples
        if self.options.images:
            return Cost(noises, noises, 1)
        return Cost(guided * images * steps + noises, noises, images)

    def accumulate(self, model: DiffusionModel, task: Task, batch: MicroBatch) -> Log:
        sampler, n = task.sampler, min(self.options.noises, task.sampler.steps)
        batch, x0, reward = self._targets(model, task, batch)
        losses, total = LossAccumulator(batch, calls=n), 0.0
        for i in stratified_steps(sampler.steps, n, batch.draws, "t"):
            noise = latent_noise(model, batch.draws, "noise", i)
            prediction = predict_step(model, sampler, sampler.noised(x0, noise, i), i, batch.prompts, 1.0)
            losses.penalise(prediction)
            loss = (prediction.output - sampler.target(x0, noise, i)).square().mean() / n
            losses.backward(loss)
            total += loss.item()
        return losses.log(reward, total)

    @torch.no_grad()
    def _targets(
        self, model: DiffusionModel, task: Task, batch: MicroBatch
    ) -> tuple[MicroBatch, Tensor, float]:
        """The micro-batch with the prompts of the images, the images' latents, and their mean reward."""
        if self._images is not None:
            images, prompts = self._images.of(batch.prompts, batch.draws)
            images = images.to(model.device)
            reward = task.reward(images, prompts).mean().item()
            return replace(batch, prompts=prompts), model.encode(images), reward
        latents, rewards = scored_copies(model, task, batch, self.options.samples)
        best = rewards.argmax(0)
        x0 = latents[best, torch.arange(len(batch.prompts), device=best.device)]
        return batch, x0, rewards.mean().item()
