"""Drift: the path KL divergence between the sampling chains of two models."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ril_bench.diffusion.model import DiffusionModel
from ril_bench.diffusion.sampler import DDIM, Prediction, predict_step


def step_kl(ddim: DDIM, eps: Tensor, other: Tensor, i: int) -> Tensor:
    """KL in nats (N,), float64, of step i with the noise `eps` from step i with the noise `other`. [ours]

    Both steps start from the same x and draw from a Gaussian of variance sigma_i^2. Their means differ by b_i (eps -
    other), so the KL is b_i^2 |eps - other|^2 / (2 sigma_i^2). `eps` and `other` have the shape (N, C, h, w). Raises
    ZeroDivisionError where eta is 0: such a step has no noise, and no KL.
    """
    apart = (eps.double() - other.double()).flatten(1).square().sum(1)
    return ddim.b[i] ** 2 / (2 * ddim.sigma[i] ** 2) * apart


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
                p.ddim, p.eps, predict_step(model, p.ddim, p.x_t, p.step, p.prompts, p.guidance).eps, p.step
            )
            for p in rollout
        ]
    ).sum(0)
