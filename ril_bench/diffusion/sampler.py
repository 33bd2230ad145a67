"""The sampler: DDIM (arXiv 2010.02502) on Stable Diffusion's schedule; and the rollout."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import torch
from diffusers import DDIMScheduler
from torch import Tensor

from ril_bench.diffusion.model import DiffusionModel
from ril_bench.draws import Draws, Key
from ril_bench.errors import UserError

# Stable Diffusion's schedule; the linear path and the log-probabilities of a step assume it
SCHEDULE = {
    "clip_sample": False,
    "thresholding": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
    "timestep_spacing": "leading",
    "rescale_betas_zero_snr": False,
}


def check_schedule(config: Mapping[str, Any]) -> None:
    """Raises UserError, all faults at once, where a scheduler's config is not Stable Diffusion's."""
    found = DDIMScheduler.from_config(config).config
    if faults := [key for key, value in SCHEDULE.items() if found[key] != value]:
        raise UserError(
            f"the model's scheduler has {', '.join(f'{key}: {found[key]}' for key in faults)}",
            where="scheduler/scheduler_config.json of the model",
            hint=", ".join(f"{key}: {SCHEDULE[key]}" for key in faults),
        )


class DDIM:
    """The steps x_s = a x_t + b eps + sigma n of a schedule, as tables over the step i = 0 .. steps - 1.

    Leading spacing with offset 1, and alphas_cumprod[0] after the last step, so every step has sigma > 0 when
    eta > 0. eta 0 is deterministic, eta 1 has DDPM's variance. Computed in fp64.

    Args:
        alphas_cumprod: (T,), of the model, decreasing.
        steps: number of steps; the highest timestep must be below T.
        eta: in [0, 1].

    Raises:
        UserError: `steps` or `eta` is out of range.
    """

    def __init__(self, alphas_cumprod: Tensor, steps: int, eta: float):
        stride = len(alphas_cumprod) // steps if steps > 0 else 0
        if stride == 0 or (steps - 1) * stride + 1 >= len(alphas_cumprod):
            raise UserError(
                f"{steps} sampling steps do not fit a model of {len(alphas_cumprod)} timesteps",
                where="sampler.steps",
                hint=f"choose 1 to {len(alphas_cumprod) - 1}",
            )
        if not 0 <= eta <= 1:
            raise UserError(
                f"eta is {eta}", where="sampler.eta", hint="choose 0 (deterministic) to 1 (as in DDPM)"
            )
        self.alphas_cumprod = alphas_cumprod
        self.steps = steps
        self.eta = eta
        self.timesteps: list[int] = [i * stride + 1 for i in reversed(range(steps))]
        self.a: list[float] = []
        self.b: list[float] = []
        self.sigma: list[float] = []
        for t in self.timesteps:
            bar_t, bar_s = (float(alphas_cumprod[max(index, 0)]) for index in (t, t - stride))
            sigma = eta * math.sqrt((1 - bar_s) / (1 - bar_t) * (1 - bar_t / bar_s))
            a = math.sqrt(bar_s / bar_t)
            self.a.append(a)
            self.b.append(math.sqrt(1 - bar_s - sigma**2) - a * math.sqrt(1 - bar_t))
            self.sigma.append(sigma)

    @classmethod
    def of(cls, model: DiffusionModel, steps: int, eta: float) -> DDIM:
        """The sampler of a model.

        Raises UserError with all differences where the model's scheduler is not Stable Diffusion's.
        """
        check_schedule(model.pipe.scheduler.config)
        return cls(model.alphas_cumprod, steps, eta)

    def random_at(self, steps: Collection[int]) -> DDIM:
        """The same sampler with noise at `steps` alone; the other steps are those of eta 0."""
        sampler, still = copy.copy(self), DDIM(self.alphas_cumprod, self.steps, 0.0)
        sampler.b = [self.b[i] if i in steps else still.b[i] for i in range(self.steps)]
        sampler.sigma = [self.sigma[i] if i in steps else 0.0 for i in range(self.steps)]
        return sampler

    def x0hat(self, x: Tensor, eps: Tensor, i: int) -> Tensor:
        """The clean latents (N, C, h, w) that x and its noise imply at step i (eq. 12)."""
        bar = float(self.alphas_cumprod[self.timesteps[i]])
        return (x - math.sqrt(1 - bar) * eps) / math.sqrt(bar)

    def step(self, x: Tensor, eps: Tensor, i: int, noise: Tensor | None) -> Tensor:
        """x after step i; noise ~ N(0, I) of x's shape, or None where eta is 0."""
        x = self.a[i] * x + self.b[i] * eps
        return x if noise is None else x + self.sigma[i] * noise

    def reach(self, k: int, i: int) -> float:
        """dx_i / deps_k, x_i the latents before step i > k, of a rollout that gives the denoiser sg(x). [ours]

        x_i is then linear in each noise, and this is b_k prod_{k < j < i} a_j. i = T is x_0.
        """
        return self.b[k] * math.prod(self.a[k + 1 : i])

    def slope(self, k: int, stop: int | None = None) -> float:
        """dx_0 / deps_k of a rollout that gives the denoiser sg(x). [ours]

        With `stop`, x_0 is x0hat at that step; k is at most `stop`.
        """
        if stop is None:
            return self.reach(k, self.steps)
        bar = float(self.alphas_cumprod[self.timesteps[stop]])
        if k == stop:
            return -math.sqrt((1 - bar) / bar)
        return self.reach(k, stop) / math.sqrt(bar)

    def noised(self, x0: Tensor, noise: Tensor, i: int) -> Tensor:
        """x0 with the noise level that step i starts from: sqrt(abar) x0 + sqrt(1 - abar) noise."""
        bar = float(self.alphas_cumprod[self.timesteps[i]])
        return math.sqrt(bar) * x0 + math.sqrt(1 - bar) * noise


@dataclass(frozen=True)
class Prediction:
    """One noise prediction of a tuner, as the tuner used it.

    Attributes:
        x_t: (N, C, h, w), the latents that the denoiser got; detached.
        t: the timestep that the denoiser got.
        step: the sampler's step, 0 .. steps - 1.
        prompts: the N prompts.
        guidance: scale of the classifier-free guidance; 1 for none.
        eps: (N, C, h, w), the guided noise, with its graph where the call had a gradient.
        ddim: the sampler.
    """

    x_t: Tensor
    t: int
    step: int
    prompts: list[str]
    guidance: float
    eps: Tensor
    ddim: DDIM

    def x0(self) -> Tensor:
        """The clean latents x0hat (N, C, h, w) of this prediction; the gradient runs through eps alone."""
        return self.ddim.x0hat(self.x_t, self.eps, self.step)

    def velocity(self) -> Tensor:
        """eps - x0hat (N, C, h, w): what a flow-matching model predicts at these latents, rescaled to its path. [ours]

        x_t / (sqrt(abar) + sqrt(1 - abar)) is a straight path from x_0 to the noise, and eps - x0hat is its slope.
        """
        return self.eps - self.x0()

    def with_eps(self, eps: Tensor) -> Prediction:
        """The same prediction with the noise (N, C, h, w) of another model."""
        return replace(self, eps=eps)

    def of_samples(self, rows: Sequence[int]) -> Prediction:
        """The same prediction of some samples only, by their positions."""
        chosen = list(rows)
        return replace(
            self, x_t=self.x_t[chosen], prompts=[self.prompts[k] for k in chosen], eps=self.eps[chosen]
        )


def predict_step(
    model: DiffusionModel, ddim: DDIM, x: Tensor, i: int, prompts: Sequence[str], guidance: float
) -> Prediction:
    """The model's prediction at step i for latents x (N, C, h, w) without a graph."""
    t = ddim.timesteps[i]
    return Prediction(x, t, i, list(prompts), guidance, model.predict(x, t, prompts, guidance), ddim)


def latent_noise(model: DiffusionModel, draws: Draws, *what: Key) -> Tensor:
    """Standard normal noise (N, C, h, w) for the latents of N draws, on the model's device.

    `what` names the use of the noise, so that two uses never get the same numbers.
    """
    return draws.normal(*what, shape=model.latent_shape).to(model.device)


def sample(
    model: DiffusionModel,
    ddim: DDIM,
    prompts: Sequence[str],
    draws: Draws,
    *,
    guidance: float,
    grad_steps: Collection[int] = (),
    on_grad_step: Callable[[Prediction], None] | None = None,
    detach_input: bool = False,
    stop: int | None = None,
    on_step: Callable[[Prediction], None] | None = None,
) -> Tensor:
    """Samples latents (N, C, h, w), one for each prompt, from the noises ("init") and, with eta > 0, ("step", i).

    The steps in `grad_steps` keep the graph of their noise prediction and run on live adapters. The other steps run
    without a graph, with the adapters folded into the weights. After the first step with gradient, x keeps its graph
    until the end (the chain). DRaFT-K (arXiv 2309.17400) has the last K steps in `grad_steps`.

    Args:
        on_grad_step: called with the prediction of each step in `grad_steps`, right after it.
        detach_input: give the denoiser sg(x), while x keeps its graph (DRTune, arXiv 2405.00760).
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
        range(ddim.steps if stop is None else stop + 1), key=lambda i: i in grad_steps
    ):
        with nullcontext() if live else model.folded_once():
            for i in steps:
                t = ddim.timesteps[i]
                with torch.set_grad_enabled(live):
                    eps = model.predict(x.detach() if detach_input else x, t, prompts, guidance)
                prediction = Prediction(x.detach(), t, i, list(prompts), guidance, eps, ddim)
                if live and on_grad_step is not None:
                    on_grad_step(prediction)
                if on_step is not None:
                    on_step(prediction)
                if i == stop:
                    return ddim.x0hat(x, eps, i)
                x = ddim.step(x, eps, i, latent_noise(model, draws, "step", i) if ddim.eta > 0 else None)
    return x
