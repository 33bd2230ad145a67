"""Drift: the path KL divergence between the sampling chains of two models."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ril_bench.diffusion.model import DiffusionModel
from ril_bench.diffusion.sampler import Prediction, predict_step
from ril_bench.diffusion.steps import Sampler


def step_kl(sampler: Sampler, out: Tensor, other: Tensor, i: int) -> Tensor:
    """KL in nats (N,), float64, of step i with the denoiser's output `out` from step i with `other`. [ours]

    Both steps start from the same x and draw from a Gaussian of variance sigma_i^2. Their means differ by b_i (out -
    other), so the KL is b_i^2 |out - other|^2 / (2 sigma_i^2). `out` and `other` have the shape (N, C, h, w). Raises
    ZeroDivisionError where eta is 0: such a step has no noise, and no KL.
    """
    apart = (out.double() - other.double()).flatten(1).square().sum(1)
    return sampler.b[i] ** 2 / (2 * sampler.sigma[i] ** 2) * apart


@torch.no_grad()
def path_kl(model: DiffusionModel, rollout: Sequence[Prediction]) -> Tensor:
    """The sum of `step_kl` over a rollout of another model, in nats (N,), float64.

    The mean over rollouts estimates KL(P || Q) without bias, where P is the chain that sampled the rollout, and Q is
    the chain of `model` in its present state. Both chains start from the same distribution, so this is the KL of the
    whole chains. It is at least the KL of the images. Each prediction costs one call of the denoiser.

    Args:
        rollout: the predictions of all steps, with guidance, as the sampler used them.
    """
    return torch.stack(
        [
            step_kl(
                p.sampler,
                p.output,
                predict_step(model, p.sampler, p.x_t, p.step, p.prompts, p.guidance).output,
                p.step,
            )
            for p in rollout
        ]
    ).sum(0)
