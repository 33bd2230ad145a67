"""The rollout of a sampler, and the predictions of the model in it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from itertools import groupby

import torch
from torch import Tensor

from ril_bench.diffusion.model import DiffusionModel
from ril_bench.diffusion.steps import Sampler
from ril_bench.draws import Draws, Key


@dataclass(frozen=True)
class Prediction:
    """One prediction of the model, as a tuner used it.

    Attributes:
        x_t: (N, C, h, w), the latents that the denoiser got; detached.
        t: the time that the denoiser got.
        step: the sampler's step, 0 .. steps - 1.
        prompts: the N prompts.
        guidance: scale of the classifier-free guidance; 1 for none.
        output: (N, C, h, w), the guided output of the denoiser (noise or a velocity), with its graph where the call had
            a gradient.
        sampler: the sampler, which knows what the output is.
    """

    x_t: Tensor
    t: float
    step: int
    prompts: list[str]
    guidance: float
    output: Tensor
    sampler: Sampler

    def x0(self) -> Tensor:
        """The clean latents x0hat (N, C, h, w) that it implies; the gradient runs through the output alone."""
        return self.sampler.x0hat(self.x_t, self.output, self.step)

    def noise(self) -> Tensor:
        """The noise (N, C, h, w) that it implies: the output itself, where the denoiser predicts noise."""
        return self.sampler.noise(self.x_t, self.output, self.step)

    def velocity(self) -> Tensor:
        """noise - x0hat (N, C, h, w): what a flow-matching model predicts.

        At the latents x_t of another model, x_t / (signal + level) is on a straight path from x_0 to the noise, and
        this is its slope [ours].
        """
        return self.noise() - self.x0()

    def with_output(self, output: Tensor) -> Prediction:
        """The same prediction with the output (N, C, h, w) of another model."""
        return replace(self, output=output)

    def of_samples(self, rows: Sequence[int]) -> Prediction:
        """The same prediction of some samples only, by their positions."""
        chosen = list(rows)
        return replace(
            self, x_t=self.x_t[chosen], prompts=[self.prompts[k] for k in chosen], output=self.output[chosen]
        )


def predict_step(
    model: DiffusionModel, sampler: Sampler, x: Tensor, i: int, prompts: Sequence[str], guidance: float
) -> Prediction:
    """The model's prediction at step i for latents x (N, C, h, w) without a graph."""
    t = sampler.timesteps[i]
    return Prediction(x, t, i, list(prompts), guidance, model.predict(x, t, prompts, guidance), sampler)


def latent_noise(model: DiffusionModel, draws: Draws, *what: Key) -> Tensor:
    """Standard normal noise (N, C, h, w) for the latents of N draws, on the model's device.

    `what` names the use of the noise, so that two uses never get the same numbers.
    """
    return draws.normal(*what, shape=model.latent_shape).to(model.device)


def sample(
    model: DiffusionModel,
    sampler: Sampler,
    prompts: Sequence[str],
    draws: Draws,
    *,
    guidance: float,
    grad_steps: Collection[int] = (),
    on_grad_step: Callable[[Prediction], None] | None = None,
    stop: int | None = None,
    on_step: Callable[[Prediction], None] | None = None,
) -> Tensor:
    """Samples latents (N, C, h, w), one for each prompt, from the noises ("init") and, in random steps, ("step", i).

    The steps in `grad_steps` keep the graph of their prediction and run on live adapters. The other steps run
    without a graph, with the adapters folded into the weights. After the first step with gradient, x keeps its graph
    until the end (the chain). DRaFT-K (arXiv 2309.17400) has the last K steps in `grad_steps`.

    Args:
        on_grad_step: called with the prediction of each step in `grad_steps`, right after it.
        stop: end the rollout at this step and return x0hat there.
        on_step: called with the prediction of every step.

    Raises:
        RuntimeError: `grad_steps` is not empty, inside of `folded()` or without autograd.
    """
    if grad_steps and (model.is_folded or not torch.is_grad_enabled()):
        raise RuntimeError(
            "steps with gradient need live adapters and autograd: sample outside of folded() and no_grad()"
        )
    x = latent_noise(model, draws, "init")
    for live, steps in groupby(
        range(sampler.steps if stop is None else stop + 1), key=lambda i: i in grad_steps
    ):
        with nullcontext() if live else model.folded_once():
            for i in steps:
                t = sampler.timesteps[i]
                with torch.set_grad_enabled(live):
                    out = model.predict(x, t, prompts, guidance)
                prediction = Prediction(x.detach(), t, i, list(prompts), guidance, out, sampler)
                if live and on_grad_step is not None:
                    on_grad_step(prediction)
                if on_step is not None:
                    on_step(prediction)
                if i == stop:
                    return sampler.x0hat(x, out, i)
                noise = latent_noise(model, draws, "step", i) if sampler.sigma[i] > 0 else None
                x = sampler.step(x, out, i, noise)
    return x
