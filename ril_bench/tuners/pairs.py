"""The loss of a better and a worse image: what Diffusion-DPO and SPIN-Diffusion share."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ril_bench.diffusion.model import DiffusionModel
from ril_bench.diffusion.sampler import Prediction
from ril_bench.draws import Draws
from ril_bench.tuners.base import Grading, Task
from ril_bench.tuners.reference import Reference
from ril_bench.tuners.samples import spread


def pair_loss(ours: Tensor, theirs: Tensor, beta: float) -> Tensor:
    """-log sigmoid(-beta/2 [(m_w - m_l) - (ref_w - ref_l)]), (N,), of noise errors (2N,), the winners' first. [code]

    An error is the mean square over a latent's elements; a sum saturates at these betas.
    """
    (won, lost), (ref_won, ref_lost) = ours.chunk(2), theirs.chunk(2)
    return -F.logsigmoid(-beta / 2 * ((won - lost) - (ref_won - ref_lost)))


def learn_pairs(
    model: DiffusionModel,
    reference: Reference,
    winners: Tensor,
    losers: Tensor,
    prompts: list[str],
    task: Task,
    draws: Draws,
    grading: Grading,
    *,
    noises: int,
    beta: float,
    weights: Tensor | None = None,
) -> float:
    """Back-propagates the mean pair loss of latents (N, C, h, w) over `noises` draws of (t, noise); returns it.

    t and noise are shared by a pair [code], t by the batch. A draw takes one call of the denoiser with 2N latents
    with gradient and one of the reference without. `weights` (N,) multiply each pair's loss.
    """
    ddim, total = task.sampler, 0.0
    both, said = torch.cat([winners, losers]), prompts * 2
    for i in spread(ddim.steps, noises, draws, "t"):
        noise = draws.normal("noise", i, shape=model.latent_shape).to(model.device).repeat(2, 1, 1, 1)
        x, t = ddim.noised(both, noise, i), ddim.timesteps[i]
        with torch.no_grad(), reference.in_force(model):
            theirs = (model.predict(x, t, said, 1.0) - noise).square().mean((1, 2, 3))
        eps = model.predict(x, t, said, 1.0)
        grading.see(Prediction(x, t, i, said, 1.0, eps, ddim))
        losses = pair_loss((eps - noise).square().mean((1, 2, 3)), theirs, beta)
        loss = (losses if weights is None else weights * losses).mean() / noises
        grading.backward(loss)
        total += loss.item()
    return total
