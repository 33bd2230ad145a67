"""Supervised fine-tuning: the denoising loss on images, the tuner's own best ones or given ones."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from pydantic import Field, field_validator
from torch import Tensor

from ril_bench.data.image_sets import Images, load_images, locate_images
from ril_bench.diffusion.model import DiffusionModel
from ril_bench.diffusion.sampler import Prediction
from ril_bench.draws import Draws
from ril_bench.tuners.base import Grading, Held, Log, Penalty, Task, Tuner
from ril_bench.tuners.samples import rated, spread


class Sft(Tuner):
    """SFT: loss = mean |eps - eps_theta(sqrt(abar) x_0 + sqrt(1 - abar) eps, t, c)|^2, the floor SPIN must beat.

    x_0 is the best-scored of a few own images of the prompt (any reward will do: its values are enough), or a given
    image, encoded. Plain conditional noise, without guidance, as the loss is everywhere [code]; t is one of the
    sampler's own steps, one drawn from each of equal segments, as no other step is ever asked for [ours].

    An update of N prompts takes `noises` calls of the denoiser with gradient and their backward; on own images also
    samples x steps without, and a decoding and a reward call for each of the `samples`; on given ones an encoding and
    a reward call, for the log alone.
    """

    class Options(Tuner.Options):
        #: own images of each prompt, of which the best is learned
        samples: Annotated[int, Field(ge=2, strict=True)] = 4
        #: noised versions of each image in an update
        noises: Annotated[int, Field(ge=1, strict=True)] = 4
        #: an image set to learn instead, as ril_bench.data.image_sets names them
        images: str | None = None

        @field_validator("images")
        @classmethod
        def _there_are_some(cls, reference: Any) -> Any:
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
        self._images: Images | None = load_images(reference) if reference else None

    @torch.no_grad()
    def _learned(
        self, model: DiffusionModel, prompts: list[str], task: Task, draws: Draws
    ) -> tuple[Tensor, list[str], float]:
        """The latents to learn, their prompts, and the mean reward of what there was."""
        if self._images is not None:
            images, prompts = self._images.of(prompts, draws)
            images = images.to(model.device)
            return model.encode(images), prompts, task.reward(images, prompts).mean().item()
        latents, rewards = rated(model, task, prompts, draws, self.options.samples)
        best = rewards.argmax(0)
        return latents[best, torch.arange(len(prompts), device=best.device)], prompts, rewards.mean().item()

    def holds(self, steps: int, guided: int) -> Held:
        return Held(1, together=False)  # a plain conditional prediction, without guidance

    def accumulate(
        self,
        model: DiffusionModel,
        prompts: list[str],
        task: Task,
        penalty: Penalty | None,
        draws: Draws,
        share: float,
    ) -> Log:
        ddim, n = task.sampler, min(self.options.noises, task.sampler.steps)
        x0, prompts, reward = self._learned(model, prompts, task, draws)
        grading, total = Grading(penalty, n, share), 0.0
        for i in spread(ddim.steps, n, draws, "t"):
            noise = draws.normal("noise", i, shape=model.latent_shape).to(model.device)
            x, t = ddim.noised(x0, noise, i), ddim.timesteps[i]
            eps = model.predict(x, t, prompts, 1.0)
            grading.see(Prediction(x, t, i, prompts, 1.0, eps, ddim))
            loss = (eps - noise).square().mean() / n
            grading.backward(loss)
            total += loss.item()
        return grading.log(reward, total)
