"""States that a model visits while it samples; methods measure on them what weights matter."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ril_bench.diffusion.model import DiffusionModel
from ril_bench.diffusion.sampler import Prediction, latent_noise, predict_step, sample
from ril_bench.diffusion.steps import Sampler
from ril_bench.draws import Draws, generator

BATCH = 8  # rollouts in one batch


@dataclass(frozen=True)
class State:
    """The prediction of one sample at one step, with gradient, and a random direction.

    Attributes:
        prediction: the prediction of one sample (N is 1).
        noise: (1, C, h, w), from N(0, I); <noise, prediction.output> is a random projection of the prediction.
    """

    prediction: Prediction
    noise: Tensor


def visited(
    model: DiffusionModel, sampler: Sampler, prompts: Sequence[str], draws: Draws, guidance: float
) -> Iterator[State]:
    """Yields one state of each prompt's rollout, at a step drawn uniformly.

    The rollouts run without gradient. Each prediction has one sample, so its gradient is the gradient of that sample
    alone. Raises RuntimeError without autograd.
    """
    if not torch.is_grad_enabled():
        raise RuntimeError("visited states have a gradient: iterate over them outside of no_grad()")
    for start in range(0, len(prompts), BATCH):
        part = slice(start, start + BATCH)
        steps = [
            int(generator(draws.key, row, "visit").integers(sampler.steps)) for row in draws.samples[part]
        ]
        latents = _latents_before(model, sampler, list(prompts[part]), draws[part], guidance, steps)
        noise = latent_noise(model, draws[part], "direction")
        for k, (x, i) in enumerate(zip(latents, steps, strict=True)):
            yield State(predict_step(model, sampler, x, i, [prompts[start + k]], guidance), noise[k : k + 1])


@torch.no_grad()
def _latents_before(
    model: DiffusionModel,
    sampler: Sampler,
    prompts: list[str],
    draws: Draws,
    guidance: float,
    steps: Sequence[int],
) -> list[Tensor]:
    """The latents (1, C, h, w) of sample k before step steps[k], for each k; the rollout ends at the last of them."""
    found: dict[int, Tensor] = {}

    def keep(prediction: Prediction) -> None:
        found.update(
            {k: prediction.x_t[k : k + 1] for k, step in enumerate(steps) if step == prediction.step}
        )

    sample(model, sampler, prompts, draws, guidance=guidance, stop=max(steps), on_step=keep)
    return [found[k] for k in range(len(steps))]
