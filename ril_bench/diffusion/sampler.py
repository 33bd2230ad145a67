"""DDIM, the one sampler, on Stable Diffusion's schedule, with its gradient choices (arXiv 2010.02502)."""

from __future__ import annotations

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
from ril_bench.draws import Draws
from ril_bench.errors import UserError

SCHEDULE = {  # Stable Diffusion's; the linear path and the log-probabilities of a step rest on it
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
        alphas_cumprod: (T,) of the model, falling.
        steps: how many; the last timestep they reach must be below T.
        eta: in [0, 1].
    Raises: UserError for steps or eta out of range.
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

        Raises UserError, all faults at once, where its scheduler is not Stable Diffusion's.
        """
        check_schedule(model.pipe.scheduler.config)
        return cls(model.alphas_cumprod, steps, eta)

    def x0hat(self, x: Tensor, eps: Tensor, i: int) -> Tensor:
        """The clean latents that x and its noise stand for at step i (eq. 12)."""
        bar = float(self.alphas_cumprod[self.timesteps[i]])
        return (x - math.sqrt(1 - bar) * eps) / math.sqrt(bar)

    def step(self, x: Tensor, eps: Tensor, i: int, noise: Tensor | None) -> Tensor:
        """x after step i; noise ~ N(0, I) of x's shape, or None where eta is 0."""
        x = self.a[i] * x + self.b[i] * eps
        return x if noise is None else x + self.sigma[i] * noise

    def slope(self, k: int, stop: int | None = None) -> float:
        """dx_0 / deps_k of a rollout that gives the denoiser sg(x): x_0 is linear in each of its calls. [ours]

        b_k prod_{j > k} a_j after the last step; with `stop`, where x_0 is x0hat at that step, the product ends
        there. k is at most `stop`.
        """
        if stop is None:
            return self.b[k] * math.prod(self.a[k + 1 :])
        bar = float(self.alphas_cumprod[self.timesteps[stop]])
        if k == stop:
            return -math.sqrt((1 - bar) / bar)
        return self.b[k] * math.prod(self.a[k + 1 : stop]) / math.sqrt(bar)

    def noised(self, x0: Tensor, noise: Tensor, i: int) -> Tensor:
        """The latents that step i meets where x0 was noised up to it: sqrt(abar) x0 + sqrt(1 - abar) noise."""
        bar = float(self.alphas_cumprod[self.timesteps[i]])
        return math.sqrt(bar) * x0 + math.sqrt(1 - bar) * noise


@dataclass(frozen=True)
class Prediction:
    """One graded noise prediction, as the tuner used it."""

    x_t: Tensor  # (N, C, h, w), detached
    t: int
    step: int
    prompts: list[str]
    guidance: float
    eps: Tensor  # (N, C, h, w), guided, with its graph
    ddim: DDIM

    def x0(self) -> Tensor:
        """The clean latents (N, C, h, w) that it stands for; the gradient runs through eps alone."""
        return self.ddim.x0hat(self.x_t, self.eps, self.step)

    def with_eps(self, eps: Tensor) -> Prediction:
        """The same call with another model's noise (N, C, h, w)."""
        return replace(self, eps=eps)


def sample(
    model: DiffusionModel,
    ddim: DDIM,
    prompts: Sequence[str],
    draws: Draws,
    *,
    guidance: float,
    graded: Collection[int] = (),
    on_graded: Callable[[Prediction], None] | None = None,
    detach_input: bool = False,
    stop: int | None = None,
    on_step: Callable[[Prediction], None] | None = None,
) -> Tensor:
    """Latents (N, C, h, w), one for each prompt, from draws ("init") and, with eta > 0, ("step", i).

    The steps in `graded` keep the graph of their noise prediction, on live adapters; the others run without
    one, on weights with the adapters folded in. From the first graded step on, the chain through x is kept.
    DRaFT-K (arXiv 2309.17400) grades the last K steps. `detach_input` gives the denoiser sg(x), while x
    itself keeps its chain (DRTune, arXiv 2405.00760). `on_graded` meets each graded prediction at once, `on_step`
    each one there is. With `stop`, the rollout ends at that step, and the latents are x0hat there.

    Raises RuntimeError for graded steps where they could not have a gradient: on folded weights or without
    autograd.
    """
    if graded and (model.is_folded or not torch.is_grad_enabled()):
        raise RuntimeError(
            "graded steps need live adapters and autograd: sample outside of folded() and no_grad()"
        )
    x = draws.normal("init", shape=model.latent_shape).to(model.device)
    for live, steps in groupby(range(ddim.steps if stop is None else stop + 1), key=lambda i: i in graded):
        with nullcontext() if live else model.folded_once():
            for i in steps:
                t = ddim.timesteps[i]
                with torch.set_grad_enabled(live):
                    eps = model.predict(x.detach() if detach_input else x, t, prompts, guidance)
                prediction = Prediction(x.detach(), t, i, list(prompts), guidance, eps, ddim)
                if live and on_graded is not None:
                    on_graded(prediction)
                if on_step is not None:
                    on_step(prediction)
                if i == stop:
                    return ddim.x0hat(x, eps, i)
                noise = (
                    draws.normal("step", i, shape=model.latent_shape).to(model.device)
                    if ddim.eta > 0
                    else None
                )
                x = ddim.step(x, eps, i, noise)
    return x
